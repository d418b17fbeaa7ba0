import { Agent } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore } from '../server/support/running-service.js';
import { inTurns, LOAD_SECONDS, post, quantile } from './support/client.js';
import { type CheckedRequest, mixedRequests } from './support/mixed-requests.js';
import { ServerProcess } from './support/server-process.js';

/** Items that the server takes at once, and clients that together keep three times as many on their way. */
const QUEUE = 16;
const WARM_UP_SECONDS = Math.min(30, LOAD_SECONDS / 3);

let store: FixtureStore;
let requests: CheckedRequest[];
beforeAll(async () => {
  store = await fixtureStore();
  requests = await mixedRequests(store.grey);
});
afterAll(() => store.remove());

it(
  'at three times what the server takes, answers what it accepts rightly and refuses the rest',
  async () => {
    const server = await ServerProcess.start(store.directory, { ELBO_MAX_QUEUE: String(QUEUE), ELBO_WORKERS: '1' });
    const agent = new Agent({ keepAlive: true });
    try {
      const items = requests.reduce((sum, request) => sum + request.items, 0) / requests.length;
      const clients = Math.ceil((3 * QUEUE) / items);
      const times = { answered: [] as number[], refused: [] as number[] };
      const wrong: string[] = [];
      const until = async (end: number) =>
        inTurns(
          clients,
          () => performance.now() >= end || wrong.length > 0,
          async (n) => {
            const { name, request, fault } = requests[n % requests.length] ?? never();
            const { status, body, milliseconds } = await post(server.url, agent, request);
            if (status === 200) {
              times.answered.push(milliseconds);
              const found = fault(body);
              if (found !== undefined) wrong.push(`${name}: ${found}`);
            } else {
              times.refused.push(milliseconds);
              const { code } = JSON.parse(body.toString()) as { code: string };
              if (status !== 503 || code !== 'OVERLOADED') wrong.push(`${name}: ${status} ${code}`);
            }
          },
        );
      const start = performance.now();
      await until(start + WARM_UP_SECONDS * 1000);
      const warm = server.residentMib;
      for (const list of Object.values(times)) list.length = 0;
      await until(start + LOAD_SECONDS * 1000);
      const end = server.residentMib;
      const milliseconds = (list: readonly number[]) =>
        `p50 ${quantile(list, 0.5).toFixed(0)} ms, p99 ${quantile(list, 0.99).toFixed(0)} ms`;
      console.log(
        `${times.answered.length} answered (${milliseconds(times.answered)}), ` +
          `${times.refused.length} refused (${milliseconds(times.refused)}; goal: p99 below 100 ms), ` +
          `resident ${warm?.toFixed(0)} MiB after the warm-up, ${end?.toFixed(0)} MiB at the end (goal: within 10 %)`,
      );
      expect(wrong).toEqual([]);
      expect(times.answered.length).toBeGreaterThan(0);
      expect(times.refused.length).toBeGreaterThan(0);
      // A leak of a kilobyte a request would show; what a garbage collector leaves for a while does not.
      if (warm !== undefined && end !== undefined) expect(end).toBeLessThan(warm * 1.5 + 50);
    } finally {
      agent.destroy();
      await server.stop();
    }
  },
  (LOAD_SECONDS + 60) * 1000,
);

function never(): never {
  throw new Error('there are no requests');
}
