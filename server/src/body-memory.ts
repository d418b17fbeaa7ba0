import { totalmem } from 'node:os';
import { InferenceError } from './inference/errors.js';
import { ProblemError } from './problems.js';

/** Of what is left of the process's memory at rest; the other half is for answers, and garbage that is not collected yet. */
const SHARE = 0.5;

/** How many times its size a body takes while it is read, decoded and run: JSON as text, as numbers of eight bytes, as rows. */
const WEIGHT = { json: 8, other: 4 };

/** Less is not counted: as many as there are connections fit. */
const COUNTED_FROM = 16 * 1024;

/**
 * Bytes of memory that this process may have: what its container is limited to, else what the machine has.
 * @param constrained of the container; 0, or more than there is, where there is no limit
 */
export function memoryLimit(constrained = process.constrainedMemory(), total = totalmem()): number {
  return constrained > 0 && constrained < total ? constrained : total;
}

/**
 * Counts what the bodies of requests take of the memory, so that more of them than it holds are refused before they are
 * read: a container that takes more than its limit is killed, with all that it had accepted.
 */
export class BodyMemory {
  /** Bytes for all bodies together, times their weights. */
  readonly capacity: number;
  #taken = 0;

  /**
   * @param limit bytes that the process may have
   * @param atRest bytes that it has before the first request
   */
  constructor(limit: number, atRest: number) {
    this.capacity = Math.max(0, Math.floor((limit - atRest) * SHARE));
  }

  /** Bytes of one body of a type at the most, whatever else there is. */
  largest(type: string): number {
    return Math.floor(this.capacity / weightOf(type));
  }

  /** For one body, of which nothing has come yet. */
  reserve(type: string): BodyReservation {
    const weight = weightOf(type);
    return new BodyReservation(this.largest(type), type, {
      hasRoom: (bytes) => this.#taken + bytes * weight <= this.capacity,
      take: (bytes) => {
        this.#taken += bytes * weight;
      },
    });
  }
}

/** What one body takes. */
export class BodyReservation {
  readonly #largest: number;
  readonly #type: string;
  readonly #memory: { hasRoom(bytes: number): boolean; take(bytes: number): void };
  #bytes = 0;
  #refusal: Error | undefined;

  constructor(largest: number, type: string, memory: { hasRoom(bytes: number): boolean; take(bytes: number): void }) {
    this.#largest = largest;
    this.#type = type;
    this.#memory = memory;
  }

  /** What the last call threw, for who sees only that the body ended early. */
  get refusal(): Error | undefined {
    return this.#refusal;
  }

  /**
   * Takes nothing: what a caller announces and does not send must not keep others out.
   * @throws {ProblemError} BODY_TOO_LARGE where so many more bytes would never fit
   * @throws {InferenceError} OVERLOADED where they do not fit now
   */
  check(bytes: number): void {
    this.#refusal = this.#refusalOf(bytes);
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  #refusalOf(bytes: number): Error | undefined {
    const total = this.#bytes + bytes;
    if (total > this.#largest) {
      const expected = `expected ${this.#largest} at most of ${this.#type}, for which this server has memory`;
      return new ProblemError('BODY_TOO_LARGE', `the body has ${total} bytes or more; ${expected}`);
    }
    if (this.#memory.hasRoom(bytes)) return undefined;
    return new InferenceError('OVERLOADED', 'the bodies of other requests take the memory that there is');
  }

  /** Takes memory for more bytes of the body; throws as `check` does. */
  grow(bytes: number): void {
    this.check(bytes);
    this.#memory.take(bytes);
    this.#bytes += bytes;
  }

  /** Gives all of it back. */
  release(): void {
    this.#memory.take(-this.#bytes);
    this.#bytes = 0;
  }
}

/** Whether a body is large enough to be counted. */
export function isCounted(bytes: number): boolean {
  return bytes >= COUNTED_FROM;
}

function weightOf(type: string): number {
  return type === 'application/json' ? WEIGHT.json : WEIGHT.other;
}
