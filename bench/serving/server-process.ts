import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Contender, pythonOf, type Settings } from './contenders.js';
import { ask } from './load.js';
import { treeUsage } from './process-tree.js';

const READY_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 10_000;
const POLL_MS = 5;

/** A server with all the processes that it starts. */
export class ServerProcess {
  readonly origin: string;
  /** From the start of the process to the first answer that it is ready. */
  readonly secondsToReady: number;
  readonly #child: ChildProcess;
  readonly #killAtExit: () => void;

  private constructor(origin: string, child: ChildProcess, secondsToReady: number, killAtExit: () => void) {
    this.origin = origin;
    this.secondsToReady = secondsToReady;
    this.#child = child;
    this.#killAtExit = killAtExit;
  }

  /** @throws {Error} where the server does not become ready, with the end of what it printed */
  static async start(contender: Contender, options: Omit<Settings, 'port'>): Promise<ServerProcess> {
    const port = await freePort();
    const { command, directory, environment } = contender.command({ ...options, port });
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ELBO_'));
    const [program, ...args] = command;
    const started = performance.now();
    // A process group of its own, so that no process of a server outlives it.
    const child = spawn(program, args, {
      detached: true,
      env: { ...Object.fromEntries(inherited), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(directory !== undefined && { cwd: directory }),
    });
    const killAtExit = () => killGroup(child);
    process.once('exit', killAtExit);
    let printed = '';
    let failure: string | undefined;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        printed = `${printed}${chunk}`.slice(-2000);
      });
    }
    child.on('error', (error) => {
      failure = error.message;
    });
    child.on('exit', (code, signal) => {
      failure ??= `it ended with ${signal ?? code}`;
    });
    const origin = `http://127.0.0.1:${port}`;
    const server = () => new ServerProcess(origin, child, (performance.now() - started) / 1000, killAtExit);
    while (performance.now() - started < READY_WITHIN_MS && failure === undefined) {
      if (await answers(origin, contender.readyPath)) return server();
      await delay(POLL_MS);
    }
    await server().stop();
    throw new Error(`${failure ?? `not ready within ${READY_WITHIN_MS / 1000} s`}: ${lastLine(printed)}`);
  }

  get usage(): ReturnType<typeof treeUsage> {
    return treeUsage(this.#child.pid ?? 0);
  }

  async stop(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (this.#child.pid !== undefined && exitCode === null && signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      await Promise.race([exited, delay(STOP_WITHIN_MS, undefined, { ref: false })]);
    }
    killGroup(this.#child);
    process.off('exit', this.#killAtExit);
  }
}

/** What a peer's environment holds, as a report names it. */
export function versionsOf(contender: Contender): string {
  const python = pythonOf(contender);
  if (python === undefined) return '';
  const script = 'import sys; from importlib.metadata import version; print(" ".join(map(version, sys.argv[1:])))';
  const versions = execFileSync(python, ['-c', script, ...contender.packages], { encoding: 'utf8' })
    .trim()
    .split(' ');
  return contender.packages.map((name, i) => `${name} ${versions[i]}`).join(', ');
}

async function answers(origin: string, path: string): Promise<boolean> {
  try {
    const { status } = await ask(origin, { method: 'GET', path, headers: {}, body: Buffer.alloc(0) });
    return status === 200;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // No process of the group is left.
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}
