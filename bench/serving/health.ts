import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export const HEALTH_INTERVAL_MS = 10;

/** Milliseconds of one health check after another for so long, ascending. */
export async function healthTimes(origin: string, seconds: number): Promise<Float64Array> {
  const agent = new Agent({ keepAlive: true });
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    const start = performance.now();
    const [response] = await once(get(`${origin}/health/live`, { agent }), 'response');
    response.resume();
    await once(response, 'end');
    times.push(performance.now() - start);
    await delay(HEALTH_INTERVAL_MS);
  }
  agent.destroy();
  return Float64Array.from(times).sort();
}
