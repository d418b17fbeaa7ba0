import type { ItemRateLimit } from './configuration.js';
import { type Clock, systemClock } from './inference/clock.js';
import { ProblemError } from './problems.js';
import { RecentMap } from './recent-map.js';

/** Callers whose items are counted; of more, those that were not heard of for the longest time start anew. */
const MAX_CALLERS = 10_000;

/** What was left of a caller's items at a time of the clock. */
interface Bucket {
  readonly left: number;
  readonly at: number;
}

/**
 * Counts the items of callers. Each may have as many at once as the limit allows in its window, and what was used comes back
 * evenly: a token bucket.
 */
export class ItemRate {
  readonly #limit: ItemRateLimit;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #buckets = new RecentMap<string, Bucket>(MAX_CALLERS);

  constructor(limit: ItemRateLimit, clock: Pick<Clock, 'now'> = systemClock) {
    this.#limit = limit;
    this.#clock = clock;
  }

  /**
   * Counts so many items of a caller, all or none.
   * @throws {ProblemError} RATE_LIMITED with the time after which they may come, TOO_MANY_ITEMS where they never may
   */
  take(caller: string, items: number): void {
    const { items: most, windowMs } = this.#limit;
    const limit = `the limit of ${most} items a ${windowMs === 1000 ? 'second' : 'minute'} of one caller`;
    if (items > most) throw new ProblemError('TOO_MANY_ITEMS', `${items} items in one request are more than ${limit}`);
    const now = this.#clock.now();
    const { left, at } = this.#buckets.get(caller) ?? { left: most, at: now };
    const there = Math.min(most, left + ((now - at) * most) / windowMs);
    if (items > there) {
      const seconds = Math.ceil(((items - there) * windowMs) / most / 1000);
      const told = `${limit} is reached: ${Math.floor(there)} are left, not ${items}; these are taken in ${seconds} s`;
      throw new ProblemError('RATE_LIMITED', told, { 'retry-after': String(seconds) });
    }
    this.#buckets.set(caller, { left: there - items, at: now });
  }
}
