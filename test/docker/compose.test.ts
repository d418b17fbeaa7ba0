import { readFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RandomSource } from '@elbo/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { readPage } from '../docs/support/documents.js';
import { runAgainst } from '../docs/support/running-page.js';
import { inTurns, LOAD_SECONDS, post, type Request } from '../load/support/client.js';
import { type RunningService, startService } from '../server/support/running-service.js';
import { ComposeProject, docker, eventually, hasImage, whyNoEngine } from './support/compose.js';

const MIB = 2 ** 20;
const repository = fileURLToPath(new URL('../..', import.meta.url));
const reason = await whyNoEngine();
if (reason !== undefined) console.log(`test/docker is skipped: ${reason}`);

const project = new ComposeProject(`elbo-test-${process.pid}`, {
  ELBO_PORT: '0',
  ELBO_PROXY_PORT: '0',
  ELBO_PROMETHEUS_PORT: '0',
  ELBO_GRAFANA_PORT: '0',
  ELBO_MEMORY: '256m',
  ELBO_CPUS: '1',
  ELBO_SHUTDOWN_DELAY: '3',
});
const { services } = parse(await readFile(join(repository, 'docker-compose.yml'), 'utf8'), { merge: true }) as {
  services: Readonly<Record<string, { readonly image: string }>>;
};
const imageOf = (service: string): string => services[service]?.image ?? '';

describe.skipIf(reason !== undefined)('docker compose', { timeout: 600_000 }, () => {
  /** This checkout's own server, whose answers the container's are held against. */
  let local: RunningService;
  let url: string;

  beforeAll(async () => {
    if (process.env.ELBO_TEST_DOCKER_BUILD !== '0') await project.compose('build', 'server', 'elbo');
    await project.up('server');
    url = await project.url('server', 8080);
    local = await startService(join(repository, 'models'), { maxBatch: 64, maxQueue: 4096, bodyLimit: 16 * MIB });
  }, 1_200_000);

  afterAll(async () => {
    await local?.close();
    await project.down();
    expect(await project.left()).toEqual([]);
  }, 120_000);

  const json = async (path: string, base = url): Promise<Record<string, unknown>> => {
    const answer = await fetch(`${base}${path}`);
    expect(answer.status).toBe(200);
    return (await answer.json()) as Record<string, unknown>;
  };

  it('makes a service image of 300 MB at most', async () => {
    const bytes = Number(await docker(['image', 'inspect', '--format', '{{.Size}}', imageOf('server')]));
    console.log(`${imageOf('server')}: ${(bytes / 1e6).toFixed(0)} MB`);
    expect(bytes).toBeLessThanOrEqual(300e6);
  });

  it('serves the shipped models with the answers of this checkout', async () => {
    const { models } = (await json('/health/ready')) as { models: string[] };
    expect(models).toEqual(((await json('/health/ready', local.url)) as { models: string[] }).models);
    for (const request of requests()) {
      const [there, here] = await Promise.all([answerTo(url, request), answerTo(local.url, request)]);
      expect(there.length, request.path).toBe(here.length);
      there.forEach((value, i) => {
        expect(Math.abs(value - (here[i] ?? Number.NaN)), request.path).toBeLessThanOrEqual(1e-4);
      });
    }
  });

  it('runs without rights, on a file system that it cannot write to, in 256 MB on one processor', async () => {
    const script = `
      const { readFileSync, writeFileSync, readdirSync } = require('node:fs');
      const status = readFileSync('/proc/self/status', 'utf8');
      const field = (name) => new RegExp('^' + name + ':\\\\s+(.*)$', 'm').exec(status)[1];
      const written = ['/app/x', '/models/x', '/x', '/tmp/x'].map((path) => {
        try { writeFileSync(path, ''); return 'written'; } catch ({ code }) { return code; }
      });
      const shells = ['/bin', '/usr/bin', '/usr/local/bin'].flatMap((folder) => {
        try { return readdirSync(folder); } catch { return []; }
      });
      console.log(JSON.stringify({ uid: field('Uid'), capabilities: field('CapEff'), noNewRights: field('NoNewPrivs'), written, shells }));`;
    const { uid, capabilities, noNewRights, written, shells } = JSON.parse(await project.inside('server', script));
    expect(uid).toBe('1000\t1000\t1000\t1000');
    expect(capabilities).toMatch(/^0+$/);
    expect(noNewRights).toBe('1');
    expect(written).toEqual(['EROFS', 'EROFS', 'EROFS', 'written']);
    expect(shells.sort()).toEqual(['node', 'tini']);
    expect(await project.inspect<number>('server', '.HostConfig.Memory')).toBe(256 * MIB);
    expect(await project.inspect<number>('server', '.HostConfig.NanoCpus')).toBe(1e9);
  });

  it('does what README.md and the page about types say', async () => {
    const address = url.slice('http://'.length);
    expect(await runAgainst(readPage('README.md'), address)).toBeGreaterThan(0);
    expect(await runAgainst(readPage('docs/how-to/types-and-streams.md'), address)).toBeGreaterThan(3);
  });

  it('answers rightly under load within its limits', async () => {
    const agent = new Agent({ keepAlive: true });
    const all = requests();
    const expected = await Promise.all(all.map((request) => answerTo(local.url, request)));
    const wrong: string[] = [];
    let answered = 0;
    let refused = 0;
    const end = performance.now() + LOAD_SECONDS * 1000;
    await inTurns(
      128,
      () => performance.now() >= end || wrong.length > 0,
      async (n) => {
        const i = n % all.length;
        const request = all[i] as Request;
        const { status, body } = await post(url, agent, request);
        if (status === 503) refused += 1;
        else if (status !== 200) wrong.push(`${request.path}: ${status} ${body}`);
        else {
          answered += 1;
          const there = numbersIn(body);
          const here = expected[i] ?? [];
          if (there.length !== here.length || there.some((value, k) => Math.abs(value - (here[k] ?? 0)) > 1e-4)) {
            wrong.push(`${request.path}: other numbers`);
          }
        }
      },
    );
    agent.destroy();
    console.log(
      `under load: ${answered} answered, ${refused} refused, ${await docker(['stats', '--no-stream', '--format', '{{.MemUsage}}', await project.compose('ps', '--quiet', 'server')])}`,
    );
    expect(wrong).toEqual([]);
    expect(answered).toBeGreaterThan(0);
    expect(await project.inspect<boolean>('server', '.State.OOMKilled')).toBe(false);
    expect(await project.inspect<number>('server', '.RestartCount')).toBe(0);
    await json('/health/ready');
  });

  it('refuses bodies that its memory does not hold, and goes on', async () => {
    const agent = new Agent({ keepAlive: true });
    const headers = { 'content-type': 'application/json' };
    const row = `[${Array(784).fill('0').join(',')}]`;
    const flood = async (rows: number, clients: number): Promise<Set<number>> => {
      const body = Buffer.from(`{"inputs":[${Array(rows).fill(row).join(',')}]}`);
      const statuses = new Set<number>();
      const end = performance.now() + (LOAD_SECONDS / 2) * 1000;
      await inTurns(
        clients,
        () => performance.now() >= end,
        async () => {
          statuses.add((await post(url, agent, { path: '/reconstruct', headers, body })).status);
        },
      );
      return statuses;
    };
    expect([...(await flood(8000, 4))]).toEqual([413]);
    const statuses = await flood(1200, 16);
    agent.destroy();
    expect(statuses).toContain(200);
    expect([...statuses].filter((status) => status !== 200 && status !== 503)).toEqual([]);
    expect(await project.inspect<boolean>('server', '.State.OOMKilled')).toBe(false);
    expect(await project.inspect<number>('server', '.RestartCount')).toBe(0);
  });

  it('serves the version that a training writes, without a restart', async () => {
    const started = await project.inspect<string>('server', '.State.StartedAt');
    await project.compose(
      'run',
      '--rm',
      '-T',
      'elbo',
      'train',
      '--preset',
      'shapes-mlp',
      '--epochs',
      '1',
      '--limit',
      '500',
    );
    await eventually(async () => ((await json('/models/shapes')).version === '2' ? true : undefined));
    const sample = await fetch(`${url}/sample?model=shapes&version=2&count=1`, { method: 'POST' });
    expect(sample.status).toBe(200);
    expect(await project.inspect<string>('server', '.State.StartedAt')).toBe(started);
  });

  it('starts again when its process is killed, with the models trained since', async () => {
    await project
      .inside(
        'server',
        `for (const pid of require('node:fs').readdirSync('/proc')) {
           if (pid === String(process.pid) || !/^\\d+$/.test(pid)) continue;
           const command = require('node:fs').readFileSync('/proc/' + pid + '/cmdline', 'utf8');
           if (command.startsWith('node\\0server/dist/main.js')) process.kill(Number(pid), 'SIGKILL');
         }`,
      )
      .catch(() => undefined);
    await eventually(async () => ((await project.inspect<number>('server', '.RestartCount')) === 1 ? true : undefined));
    // A port of the engine's choice is another one after a start.
    const { version } = await eventually(async () => json('/models/shapes', await project.url('server', 8080)));
    expect(version).toBe('2');
  });

  it('ends with 0 at SIGTERM, also in the first second', async () => {
    await project.compose('stop', 'server');
    expect(await project.inspect<number>('server', '.State.ExitCode')).toBe(0);
    const start = performance.now();
    await project.compose('start', 'server');
    await project.compose('stop', 'server');
    // Docker would wait for stop_grace_period, 30 seconds, and kill what ignores SIGTERM: 137.
    expect(await project.inspect<number>('server', '.State.ExitCode')).not.toBe(137);
    expect(performance.now() - start).toBeLessThan(25_000);
  });

  it('scales behind the proxy, and loses no request when there are fewer', async ({ skip }) => {
    if (!(await hasImage(imageOf('proxy')))) skip(`there is no image ${imageOf('proxy')}, and no registry that has it`);
    await project.compose(
      '--profile',
      'proxy',
      'up',
      '--detach',
      '--no-build',
      '--wait',
      '--scale',
      'server=3',
      'server',
      'proxy',
    );
    const proxied = await project.url('proxy', 8080);
    const total = 'elbo_http_requests_total{method="POST",route="/sample",status="200"} ';
    const answeredBy = async (): Promise<number[]> => {
      const addresses = await Promise.all(
        [1, 2, 3].map((i) => project.compose('port', '--index', String(i), 'server', '8080')),
      );
      return Promise.all(
        addresses.map(async (address) => {
          const text = await (await fetch(`http://127.0.0.1:${address.split(':').at(-1)}/metrics`)).text();
          return Number(
            text
              .split('\n')
              .find((line) => line.startsWith(total))
              ?.slice(total.length) ?? 0,
          );
        }),
      );
    };
    await eventually(async () => {
      expect((await fetch(`${proxied}/sample`, { method: 'POST' })).status).toBe(200);
      return (await answeredBy()).every((count) => count > 0) ? true : undefined;
    });

    const agent = new Agent({ keepAlive: true });
    const [request] = requests() as [Request];
    const unanswered: string[] = [];
    let answered = 0;
    let scaled = false;
    const load = inTurns(
      16,
      () => scaled,
      async () => {
        const status = await post(proxied, agent, request).then((answer) => answer.status, String);
        if (status === 200) answered += 1;
        else unanswered.push(String(status));
      },
    );
    await project
      .compose('--profile', 'proxy', 'up', '--detach', '--no-build', '--no-recreate', '--scale', 'server=1', 'server')
      .finally(() => {
        scaled = true;
      });
    await load;
    agent.destroy();
    expect(unanswered).toEqual([]);
    expect(answered).toBeGreaterThan(0);
    expect((await project.compose('ps', '--quiet', 'server')).split('\n')).toHaveLength(1);
    expect((await fetch(`${proxied}/health/ready`)).status).toBe(200);
  });

  it('is watched by Prometheus, which knows the alerts', async ({ skip }) => {
    if (!(await hasImage(imageOf('prometheus'))))
      skip(`there is no image ${imageOf('prometheus')}, and no registry that has it`);
    await project.compose('--profile', 'monitoring', 'up', '--detach', '--no-build', 'server', 'prometheus');
    const prometheus = await project.url('prometheus', 9090);
    await eventually(async () => {
      const query = encodeURIComponent('sum(elbo_models)');
      const { data } = (await json(`/api/v1/query?query=${query}`, prometheus)) as {
        data: { result: { value: [number, string] }[] };
      };
      return Number(data.result[0]?.value[1]) === 6 ? true : undefined;
    });
    const { data } = (await json('/api/v1/rules', prometheus)) as {
      data: { groups: { rules: { health: string }[] }[] };
    };
    const rules = data.groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(3);
    await eventually(async () => (rules.every(({ health }) => health !== 'err') ? true : undefined));
  });

  it('is drawn by Grafana', async ({ skip }) => {
    if (!(await hasImage(imageOf('grafana'))))
      skip(`there is no image ${imageOf('grafana')}, and no registry that has it`);
    await project.compose('--profile', 'monitoring', 'up', '--detach', '--no-build', 'grafana');
    const grafana = await project.url('grafana', 3000);
    const { dashboard } = await eventually(
      async () => (await json('/api/dashboards/uid/elbo', grafana)) as { dashboard: { title: string } },
    );
    expect(dashboard.title).toBe('Elbo');
  });
});

/** One request of each kind that runs a model, the same in every call. */
function requests(): Request[] {
  const raw = { 'content-type': 'application/octet-stream' };
  const bytes = (values: number): Buffer => Buffer.from(uniform(values, values).buffer);
  return [
    ...['mnist', 'fashion-mnist', 'mnist-sparse'].flatMap((model) => [
      { path: `/encode?model=${model}`, headers: raw, body: bytes(784) },
      { path: `/anomaly-score?model=${model}`, headers: raw, body: bytes(784 * 16) },
      { path: `/reconstruct?model=${model}`, headers: raw, body: bytes(784 * 2) },
    ]),
    { path: '/sample?model=shapes&count=8&seed=3', headers: {}, body: Buffer.alloc(0) },
    { path: '/sample?model=mnist-conditional&count=4&seed=3&label=7', headers: {}, body: Buffer.alloc(0) },
  ];
}

function uniform(seed: number, count: number): Float32Array<ArrayBuffer> {
  const random = new RandomSource(seed);
  return Float32Array.from({ length: count }, () => random.uniform());
}

async function answerTo(url: string, { path, headers, body }: Request): Promise<number[]> {
  const answer = await fetch(`${url}${path}`, {
    method: 'POST',
    headers,
    body: body.length > 0 ? new Uint8Array(body) : null,
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  expect(answer.status, `${path}: ${bytes.subarray(0, 300)}`).toBe(200);
  return numbersIn(bytes);
}

/** All numbers of an answer of JSON, in their order. */
function numbersIn(body: Buffer): number[] {
  const found: number[] = [];
  JSON.parse(body.toString(), (_, value: unknown) => {
    if (typeof value === 'number') found.push(value);
    return value;
  });
  return found;
}
