import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { Agent, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  type FixtureStore,
  fixtureStore,
  type RunningService,
  startService,
} from '../server/support/running-service.js';
import { inTurns, LOAD_SECONDS, post } from './support/client.js';
import { type CheckedRequest, mixedRequests } from './support/mixed-requests.js';
import { ServerProcess } from './support/server-process.js';

const CLIENTS = 16;
/** A few in `npm test`, fifty in `npm run test:load`. */
const RELOADS = LOAD_SECONDS > 60 ? 50 : 6;

let store: FixtureStore;
let requests: CheckedRequest[];
beforeAll(async () => {
  store = await fixtureStore();
  requests = await mixedRequests(store.grey);
});
afterAll(() => store.remove());

describe('SIGTERM under load', () => {
  it('loses no request that was accepted', async () => {
    const server = await ServerProcess.start(store.directory, { ELBO_WORKERS: '1' });
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    const statuses = new Map<number, number>();
    const lost: string[] = [];
    let answered = 0;
    let accepted = 0;
    let isGone = false;
    const body = JSON.stringify({ inputs: Array(20).fill(Array(64).fill(0.5)) });
    await inTurns(
      CLIENTS,
      () => isGone,
      async () => {
        // The server says 100 once it has the head of a request, and so tells which ones it has accepted.
        const headers = { 'content-type': 'application/json', 'content-length': body.length, expect: '100-continue' };
        const sent = httpRequest(`${server.url}/encode`, { method: 'POST', agent, headers });
        sent.flushHeaders();
        let isAccepted = false;
        try {
          await once(sent, 'continue');
          isAccepted = true;
          accepted++;
          sent.end(body);
          const [response] = await once(sent, 'response');
          await text(response);
          statuses.set(response.statusCode, (statuses.get(response.statusCode) ?? 0) + 1);
          if (++answered === 20 * CLIENTS) server.signal('SIGTERM');
        } catch (error) {
          if (isAccepted) lost.push((error as Error).message);
          isGone = true;
        }
      },
    );
    expect(await server.ended()).toBe(0);
    expect(lost).toEqual([]);
    expect(answered).toBe(accepted);
    expect([...statuses.keys()].filter((status) => status !== 200 && status !== 503)).toEqual([]);
    expect(statuses.get(200)).toBeGreaterThanOrEqual(20 * CLIENTS);
  });
});

describe('a worker that dies under load', () => {
  it('takes no more with it than the batch that it had, and these are answered with 503', async () => {
    const maxBatch = 8;
    const running = await startService(store.directory, { maxBatch });
    const agent = new Agent({ keepAlive: true });
    onTestFinished(async () => {
      agent.destroy();
      await running.close();
    });
    const one = requests.filter(({ name }) => name === 'encode one');
    const before = 20 * CLIENTS;
    const { wrong, failed } = await underLoad(running, agent, one, before * 3, (n) => {
      if (n === before) running.workers[0]?.postMessage(null);
    });
    expect(wrong).toEqual([]);
    expect(failed.length).toBeLessThanOrEqual(maxBatch);
    for (const failure of failed) expect(failure).toBe('503 WORKER_LOST');
    await vi.waitFor(() => expect(running.service.status.workersAlive).toBe(2), 20_000);
  });
});

describe('a model that is exchanged under load', () => {
  it(
    `answers every request rightly, ${RELOADS} times`,
    async () => {
      const running = await startService(store.directory);
      const agent = new Agent({ keepAlive: true });
      onTestFinished(async () => {
        agent.destroy();
        await running.close();
      });
      const manifest = join(store.directory, 'grey', '2', 'manifest.json');
      const original = JSON.parse(await readFile(manifest, 'utf8')) as object;
      let isOver = false;
      const reloading = (async () => {
        try {
          for (let i = 0; i < RELOADS; i++) {
            await writeFile(manifest, JSON.stringify({ ...original, description: `exchanged ${i} times` }));
            const { loaded } = await running.service.registry.load('grey');
            expect(loaded.map(({ key }) => key)).toEqual(['grey/2']);
          }
        } finally {
          isOver = true;
        }
      })();
      const { wrong, failed } = await underLoad(running, agent, requests, () => isOver);
      await reloading;
      expect(wrong).toEqual([]);
      expect(failed).toEqual([]);
      await vi.waitFor(() => expect(running.service.status.workersAlive).toBe(2));
    },
    RELOADS * 20_000,
  );
});

/**
 * @param until how many requests, or when it is over
 * @returns what was wrong with answers of 200, and the other answers
 */
async function underLoad(
  { url }: RunningService,
  agent: Agent,
  kinds: readonly CheckedRequest[],
  until: number | (() => boolean),
  onTurn: (n: number) => void = () => {},
): Promise<{ wrong: string[]; failed: string[] }> {
  const wrong: string[] = [];
  const failed: string[] = [];
  let turns = 0;
  await inTurns(
    CLIENTS,
    () => (typeof until === 'number' ? turns >= until : until()),
    async (n) => {
      turns++;
      onTurn(n);
      const kind = kinds[n % kinds.length];
      if (kind === undefined) throw new Error('there are no requests');
      const { status, body } = await post(url, agent, kind.request);
      if (status !== 200) {
        failed.push(`${status} ${(JSON.parse(body.toString()) as { code: string }).code}`);
        return;
      }
      const fault = kind.fault(body);
      if (fault !== undefined) wrong.push(`${kind.name}: ${fault}`);
    },
  );
  return { wrong, failed };
}
