import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../../server/dist/main.js', import.meta.url));

/** The server as `npm start` runs it, in a process of its own. */
export class ServerProcess {
  readonly url: string;
  readonly #child: ChildProcessByStdio<null, Readable, null>;

  private constructor(url: string, child: ChildProcessByStdio<null, Readable, null>) {
    this.url = url;
    this.#child = child;
  }

  static async start(store: string, environment: Readonly<Record<string, string>>): Promise<ServerProcess> {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ELBO_'));
    const settings = { ELBO_HOST: '127.0.0.1', ELBO_PORT: '0', ELBO_MODELS_DIR: store, ELBO_PROVIDER: 'cpu' };
    const child = spawn(process.execPath, [MAIN], {
      env: { ...Object.fromEntries(inherited), ...settings, ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface(child.stdout);
    const url = await new Promise<string>((resolve, reject) => {
      lines.on('line', (line) => {
        const { address } = JSON.parse(line) as { address?: string };
        if (address !== undefined) resolve(address);
      });
      child.once('exit', (code) => reject(new Error(`the server ended with ${code} before it served`)));
    });
    return new ServerProcess(url, child);
  }

  /** Undefined where there is no /proc. */
  get residentMib(): number | undefined {
    if (process.platform !== 'linux') return undefined;
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** @returns the exit code once the process has ended */
  async ended(): Promise<number | null> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode;
    return ((await once(this.#child, 'exit')) as [number | null])[0];
  }

  async stop(): Promise<void> {
    this.signal('SIGTERM');
    await this.ended();
  }
}
