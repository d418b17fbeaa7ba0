import { execFile } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** A Docker engine's own command line, in the repository. */
export async function docker(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await run('docker', [...args], {
    cwd: repository,
    env: { ...process.env, ...environment },
    maxBuffer: 1 << 26,
  });
  return stdout.trim();
}

/** Why images are not tried here; undefined where they are. */
export async function whyNoEngine(): Promise<string | undefined> {
  if (process.env.ELBO_TEST_DOCKER !== '1')
    return 'ELBO_TEST_DOCKER is not 1; `npm run test:docker` builds and starts images';
  try {
    await docker(['compose', 'version']);
    await docker(['info']);
    return undefined;
  } catch (error) {
    return `no Docker engine answers: ${String((error as { stderr?: string }).stderr ?? error).trim()}`;
  }
}

/** Whether an image is here, or comes from its registry. */
export async function hasImage(name: string): Promise<boolean> {
  const worked = (promise: Promise<unknown>) =>
    promise.then(
      () => true,
      () => false,
    );
  return (await worked(docker(['image', 'inspect', name]))) || (await worked(docker(['pull', '--quiet', name])));
}

/** docker-compose.yml as a project of a test's own: its containers, volumes and ports meet nobody else's. */
export class ComposeProject {
  readonly #environment: Readonly<Record<string, string>>;
  readonly name: string;

  constructor(name: string, environment: Readonly<Record<string, string>>) {
    this.name = name;
    this.#environment = { ...environment, COMPOSE_PROJECT_NAME: name, COMPOSE_PROFILES: '' };
  }

  compose(...args: string[]): Promise<string> {
    return docker(['compose', ...args], this.#environment);
  }

  /** Starts services and waits until they are healthy. */
  up(...args: string[]): Promise<string> {
    return this.compose('up', '--detach', '--no-build', '--wait', '--wait-timeout', '120', ...args);
  }

  /** What the port of a service is reached at from here. */
  async url(service: string, port: number): Promise<string> {
    const address = await this.compose('port', service, String(port));
    return `http://127.0.0.1:${address.slice(address.lastIndexOf(':') + 1)}`;
  }

  /** Runs a few lines of JavaScript inside a service's container; there is no shell. */
  inside(service: string, script: string): Promise<string> {
    return this.compose('exec', '-T', service, 'node', '-e', script);
  }

  async inspect<T>(service: string, format: string): Promise<T> {
    const [container = ''] = (await this.compose('ps', '--all', '--quiet', service)).split('\n');
    return JSON.parse(await docker(['inspect', '--format', `{{json ${format}}}`, container])) as T;
  }

  /** Removes all of it. */
  down(): Promise<string> {
    return this.compose('--profile', '*', 'down', '--volumes', '--remove-orphans', '--timeout', '10');
  }

  /** Containers, volumes and networks that are still there. */
  async left(): Promise<string[]> {
    const filter = ['--quiet', '--filter', `label=com.docker.compose.project=${this.name}`];
    const lists = await Promise.all([
      docker(['ps', '--all', ...filter]),
      docker(['volume', 'ls', ...filter]),
      docker(['network', 'ls', ...filter]),
    ]);
    return lists.flatMap((list) => list.split('\n')).filter((line) => line !== '');
  }
}

/** Asks until the answer is there. */
export async function eventually<T>(ask: () => Promise<T | undefined>, seconds = 90): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const answer = await ask().catch((error: unknown) => {
      if (performance.now() > end) throw error;
      return undefined;
    });
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`no answer within ${seconds} seconds`);
    await delay(250);
  }
}
