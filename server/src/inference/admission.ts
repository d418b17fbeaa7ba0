import { InferenceError } from './errors.js';

/** Requests that were let in between two calls of `drained`. */
interface Epoch {
  active: number;
  closed: boolean;
  /** This epoch and all before it. */
  readonly ended: Promise<void>;
  readonly end: () => void;
}

/** Bounds what is inside: items, not requests, from the moment that they are accepted until they are answered. */
export class Admission {
  /** Items inside at most. */
  readonly maxItems: number;
  #items = 0;
  #epoch: Epoch = newEpoch(Promise.resolve());

  constructor(maxItems: number) {
    this.maxItems = maxItems;
  }

  /** Items inside now. */
  get items(): number {
    return this.#items;
  }

  /**
   * For those who would have to do something before they know how many items they have.
   * @throws {InferenceError} OVERLOADED where there is no room for a single one
   */
  checkRoom(): void {
    if (this.#items >= this.maxItems) throw this.#overloaded();
  }

  /**
   * Counts `items` as inside until `work` has settled, decoding of their bytes included.
   * @throws {InferenceError} OVERLOADED where they don't fit now, TOO_MANY_ITEMS where they never will
   */
  async admit<T>(items: number, work: () => Promise<T>): Promise<T> {
    // Anything else would spoil the count for good.
    if (!(Number.isInteger(items) && items >= 0)) throw new RangeError(`items is ${items}; expected a whole number`);
    if (items > this.maxItems) {
      throw new InferenceError(
        'TOO_MANY_ITEMS',
        `${items} items in one request; this server takes ${this.maxItems} at most`,
      );
    }
    if (this.#items + items > this.maxItems) {
      throw this.#overloaded();
    }
    const epoch = this.#epoch;
    this.#items += items;
    epoch.active++;
    try {
      return await work();
    } finally {
      this.#items -= items;
      epoch.active--;
      endIfOver(epoch);
    }
  }

  #overloaded(): InferenceError {
    return new InferenceError('OVERLOADED', `${this.#items} items are waiting already, of ${this.maxItems} at most`);
  }

  /** Settles when everything that is inside now has been answered; what comes later is not waited for. */
  drained(): Promise<void> {
    const epoch = this.#epoch;
    this.#epoch = newEpoch(epoch.ended);
    epoch.closed = true;
    endIfOver(epoch);
    return epoch.ended;
  }
}

function newEpoch(previous: Promise<void>): Epoch {
  let end: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { active: 0, closed: false, ended: previous.then(() => over), end };
}

function endIfOver({ active, closed, end }: Epoch): void {
  if (closed && active === 0) end();
}
