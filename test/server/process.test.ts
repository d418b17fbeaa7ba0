import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get, request as httpRequest } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { cudaLibraryMissing } from '@elbo/server/inference/provider';
import { VARIABLES } from '@elbo/server/variables';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type FixtureStore, fixtureStore } from './support/running-service.js';

const MAIN = fileURLToPath(new URL('../../server/dist/main.js', import.meta.url));
const COMMAND = fileURLToPath(new URL('../../server/bin/elbo-server.js', import.meta.url));
const HEALTH_CHECK = fileURLToPath(new URL('../../server/dist/healthcheck.js', import.meta.url));
let store: FixtureStore;

beforeAll(async () => {
  store = await fixtureStore();
});
afterAll(() => store.remove());

type Server = ChildProcessByStdio<null, Readable, Readable>;

function start(environment: Record<string, string>, main = MAIN, args: readonly string[] = []): Server {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ELBO_'));
  const child = spawn(process.execPath, [main, ...args], {
    env: {
      ...Object.fromEntries(inherited),
      ELBO_HOST: '127.0.0.1',
      ELBO_PORT: '0',
      ELBO_MODELS_DIR: store.directory,
      ELBO_WORKERS: '1',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return child;
}

interface LogLine {
  readonly msg: string;
  readonly address?: string;
  readonly [field: string]: unknown;
}

class Log {
  readonly lines: LogLine[] = [];
  #waiting: { matches: (line: LogLine) => boolean; resolve: (line: LogLine) => void }[] = [];

  constructor(stream: Readable) {
    createInterface(stream).on('line', (text) => {
      const line = JSON.parse(text) as LogLine;
      this.lines.push(line);
      for (const { matches, resolve } of this.#waiting) if (matches(line)) resolve(line);
    });
  }

  until(pattern: RegExp): Promise<LogLine> {
    const matches = (line: LogLine) => pattern.test(line.msg);
    const found = this.lines.find(matches);
    return found === undefined
      ? new Promise((resolve) => this.#waiting.push({ matches, resolve }))
      : Promise.resolve(found);
  }
}

const ended = async (child: Server): Promise<number | null> =>
  child.exitCode ?? ((await once(child, 'exit')) as [number | null])[0];

describe('the server process', () => {
  it('says in one line where it serves, what and on what', async () => {
    const child = start({ ELBO_PROVIDER: 'cpu' });
    const log = new Log(child.stdout);
    const line = await log.until(/^serving at /);
    expect(line).toMatchObject({
      address: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      models: ['grey/1', 'grey/2', 'rgb/1', 'table/1'],
      default_model: 'grey',
      provider: 'cpu',
      workers: 1,
    });
    expect((await fetch(`${line.address}/health/ready`)).status).toBe(200);
    child.kill('SIGTERM');
    expect(await ended(child)).toBe(0);
  });

  it('on SIGTERM finishes what it accepted, takes no more, and exits with 0', async () => {
    const child = start({});
    const log = new Log(child.stdout);
    const address = (await log.until(/^serving at /)).address ?? '';
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    // An idle keep-alive connection must not hold the exit up.
    const idle = get(`${address}/health/live`, { agent });
    const [idleResponse] = await once(idle, 'response');
    await text(idleResponse);

    const body = JSON.stringify({ inputs: Array(100).fill(Array(64).fill(0.5)) });
    const post = httpRequest(`${address}/encode`, {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/json', 'content-length': body.length, expect: '100-continue' },
    });
    post.flushHeaders();
    // The server has the head of the request from here on.
    await once(post, 'continue');
    child.kill('SIGTERM');
    await log.until(/^SIGTERM: /);
    post.end(body);
    const [response] = await once(post, 'response');
    expect(response.statusCode).toBe(200);
    expect(JSON.parse(await text(response)).mean).toHaveLength(100);
    expect(response.headers.connection).toBe('close');
    expect(await ended(child)).toBe(0);
    await expect(fetch(`${address}/health/live`)).rejects.toThrow();
  });

  it.each([
    ['sent nothing', ''],
    ['sent half a head', 'GET /health/live HTTP/1.1\r\nHost:'],
  ])('on SIGTERM does not wait for a connection that has %s', async (_, sent) => {
    const child = start({});
    const log = new Log(child.stdout);
    const { port } = new URL((await log.until(/^serving at /)).address ?? '');
    const socket = connect(Number(port), '127.0.0.1');
    await once(socket, 'connect');
    const closed = once(socket, 'close');
    socket.on('error', () => {});
    socket.write(sent);
    // Answered on another connection, so the first one has been accepted.
    await fetch(`http://127.0.0.1:${port}/health/live`);
    child.kill('SIGTERM');
    await closed;
    expect(await ended(child)).toBe(0);
  });

  it('on SIGTERM is not ready, and still works until the delay for balancers is over', async () => {
    const child = start({ ELBO_SHUTDOWN_DELAY: '2' });
    const log = new Log(child.stdout);
    const address = (await log.until(/^serving at /)).address ?? '';
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const status = async (path: string): Promise<number | undefined> => {
      const [response] = await once(get(`${address}${path}`, { agent }), 'response');
      await text(response);
      return response.statusCode;
    };
    expect(await status('/health/ready')).toBe(200);
    child.kill('SIGTERM');
    await log.until(/^SIGTERM: /);
    expect(await status('/health/ready')).toBe(503);
    expect(await status('/health/live')).toBe(200);
    expect(await status('/models')).toBe(200);
    expect(await ended(child)).toBe(0);
  });

  it('on SIGTERM answers what comes after an accepted request on its connection with 503', async () => {
    const child = start({});
    const log = new Log(child.stdout);
    const { port } = new URL((await log.until(/^serving at /)).address ?? '');
    const socket = connect(Number(port), '127.0.0.1');
    const answers = text(socket);
    const body = JSON.stringify({ inputs: [Array(64).fill(0.5)] });
    socket.write(
      `POST /encode HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    // Answered on another connection, so the first one's head has been read.
    await fetch(`http://127.0.0.1:${port}/models`);
    child.kill('SIGTERM');
    await log.until(/^SIGTERM: /);
    socket.write(`${body}GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n`);
    const statuses = [...(await answers).matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status);
    expect(statuses[0]).toBe('200');
    // The connection is closed after the first answer; a second one tells nothing else.
    expect(statuses.slice(1).every((status) => status === '503')).toBe(true);
    expect(await ended(child)).toBe(0);
  });

  it('exits at once on a second signal', async () => {
    const child = start({});
    const log = new Log(child.stdout);
    const address = (await log.until(/^serving at /)).address ?? '';
    const post = httpRequest(`${address}/encode`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': 10, expect: '100-continue' },
    });
    post.on('error', () => {});
    post.flushHeaders();
    await once(post, 'continue');
    child.kill('SIGTERM');
    await log.until(/^SIGTERM: /);
    child.kill('SIGTERM');
    expect(await ended(child)).toBe(1);
  });

  it('says in the log and in /health/ready why auto is not CUDA', async () => {
    const missing = cudaLibraryMissing();
    if (missing === undefined) return;
    const child = start({ ELBO_PROVIDER: 'auto' });
    const log = new Log(child.stdout);
    const { address } = await log.until(/^serving at /);
    expect(log.lines.map((line) => line.msg)).toContain(`running on the cpu: ${missing}`);
    const ready = await (await fetch(`${address}/health/ready`)).json();
    expect(ready).toMatchObject({ provider: 'cpu', provider_note: missing });
  });
});

describe('elbo-server --help', () => {
  it('lists every variable with its default, limits and meaning, and serves nothing', async () => {
    const child = start({}, COMMAND, ['--help']);
    const [help, code] = await Promise.all([text(child.stdout), ended(child)]);
    expect(code).toBe(0);
    for (const name of Object.keys(VARIABLES)) expect(help).toContain(`\n  ${name}  (default: `);
    expect(help).toContain(
      'ELBO_PORT  (default: 8080)\n      Port; 0: one that the operating system chooses: an integer from 0 to 65535',
    );
  });
});

describe('a start that cannot be', () => {
  async function failure(environment: Record<string, string>): Promise<{ code: number | null; errors: string }> {
    const child = start(environment);
    const [errors, code] = await Promise.all([text(child.stderr), ended(child), text(child.stdout)]);
    return { code, errors };
  }

  it('for a bad variable ends with code 2 and one line', async () => {
    const { code, errors } = await failure({ ELBO_PORT: 'eighty' });
    expect(code).toBe(2);
    expect(errors).toBe('elbo: ELBO_PORT=eighty: expected an integer from 0 to 65535\n');
  });

  it.skipIf(cudaLibraryMissing() === undefined)('for CUDA that cannot load ends with one line', async () => {
    const { code, errors } = await failure({ ELBO_PROVIDER: 'cuda' });
    expect(code).toBe(1);
    expect(errors).toMatch(/^elbo: provider cuda cannot be used: .+\n$/);
  });

  it('for a host that has no address ends with one line', async () => {
    const child = start({ ELBO_HOST: 'host.invalid' });
    const errors = await text(child.stderr);
    expect(await ended(child)).toBe(1);
    // Which of the two it is depends on whether a name server answers.
    expect(errors).toMatch(/^elbo: .*(ENOTFOUND|EAI_AGAIN) host\.invalid\n$/);
  });

  // Elsewhere 127.0.0.1 is the only address of the loopback interface.
  it.skipIf(process.platform !== 'linux')('is found by the health check on the one address that it has', async () => {
    const child = start({ ELBO_HOST: '127.0.0.2' });
    const { port } = new URL((await new Log(child.stdout).until(/^serving at /)).address ?? '');
    const check = async (host: string): Promise<number | null> => {
      const checking = spawn(process.execPath, [HEALTH_CHECK], {
        env: { ...process.env, ELBO_HOST: host, ELBO_PORT: port },
        stdio: 'ignore',
      });
      return ((await once(checking, 'exit')) as [number | null])[0];
    };
    expect(await check('127.0.0.2')).toBe(0);
    expect(await check('0.0.0.0')).toBe(1);
  });

  it('for a port that is taken ends with one line', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const { code, errors } = await failure({ ELBO_PORT: String(port) });
    other.close();
    expect(code).toBe(1);
    expect(errors).toMatch(new RegExp(`^elbo: .*EADDRINUSE.*${port}\n$`));
  });
});
