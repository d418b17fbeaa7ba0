import { RandomSource } from '@elbo/models';
import type { ExampleReader } from '../data/example-reader.js';

/** What decides the minibatches of a run, beside the examples themselves. */
export interface BatchPlan {
  readonly seed: number;
  readonly batchSize: number;
  /** Examples there are, and numbers in each. */
  readonly count: number;
  readonly exampleSize: number;
  readonly dtype: 'uint8' | 'float32';
  /** Whether thresholds are drawn to binarise bytes with. */
  readonly binarise: boolean;
  /** Whether the class of each example is delivered. */
  readonly labels?: boolean;
  /** Numbers of standard normal noise that an example takes, by name. */
  readonly noise: Readonly<Record<string, number>>;
}

/** The inputs of consecutive steps, each [steps, batchSize, …], row-major. */
export interface Batches {
  readonly examples: Uint8Array | Float32Array;
  readonly thresholds: Uint8Array | undefined;
  /** [steps, batchSize], where they were asked for. */
  readonly labels?: Uint8Array | undefined;
  readonly noise: Readonly<Record<string, Float32Array>>;
}

export function stepsPerEpoch({ count, batchSize }: Pick<BatchPlan, 'count' | 'batchSize'>): number {
  return Math.floor(count / batchSize);
}

/**
 * Minibatches by the number of their step. An epoch is every example once, shuffled, in whole batches; the few that do
 * not fill the last batch are others every epoch. What a step draws depends on the seed and its number alone, so that a
 * run can go on anywhere.
 */
export class BatchSource {
  readonly #reader: ExampleReader;
  readonly #plan: BatchPlan;
  readonly #labels: Uint8Array | undefined;
  #shuffled: { epoch: number; order: Int32Array } | undefined;

  /** @param labels class of each example, which a plan with labels needs */
  constructor(reader: ExampleReader, plan: BatchPlan, labels?: Uint8Array) {
    this.#reader = reader;
    this.#plan = plan;
    this.#labels = plan.labels === true ? labels : undefined;
  }

  /**
   * The inputs of the steps from `step` (from 0) up to, not including, `step + steps`, all of one epoch.
   * @param spent batches that nobody reads any more: their memory is used where it suffices
   * @throws {DataError} where the examples cannot be read
   */
  async draw(step: number, steps: number, spent?: Batches): Promise<Batches> {
    const { seed, batchSize, count, exampleSize, dtype, binarise, noise } = this.#plan;
    const perEpoch = stepsPerEpoch({ count, batchSize });
    const first = (step % perEpoch) * batchSize;
    const rows = this.#order(Math.floor(step / perEpoch)).subarray(first, first + steps * batchSize);
    const size = steps * batchSize * exampleSize;
    const bytes = (old: ArrayBufferView | undefined) => new Uint8Array(memory(old, size), 0, size);
    const floats = (old: ArrayBufferView | undefined, length: number) =>
      new Float32Array(memory(old, length * Float32Array.BYTES_PER_ELEMENT), 0, length);
    const examples = await this.#reader.read(
      rows,
      dtype === 'uint8' ? bytes(spent?.examples) : floats(spent?.examples, size),
    );
    const drawn = <T extends Uint8Array | Float32Array>(
      use: string,
      values: T,
      fill: (source: RandomSource, part: T) => void,
    ): T => {
      const length = values.length / steps;
      for (let i = 0; i < steps; i++) {
        fill(RandomSource.derived(seed, use, step + i), values.subarray(i * length, (i + 1) * length) as T);
      }
      return values;
    };
    return {
      examples,
      thresholds: binarise
        ? drawn('thresholds', bytes(spent?.thresholds), (source, part) => source.fillBinarisationThresholds(part))
        : undefined,
      ...(this.#labels && { labels: picked(this.#labels, rows) }),
      noise: Object.fromEntries(
        Object.entries(noise).map(([name, length]) => [
          name,
          drawn(`noise/${name}`, floats(spent?.noise[name], steps * batchSize * length), (source, part) =>
            source.fillNormal(part),
          ),
        ]),
      ),
    };
  }

  #order(epoch: number): Int32Array {
    if (this.#shuffled?.epoch !== epoch) {
      const { seed, count } = this.#plan;
      this.#shuffled = { epoch, order: RandomSource.derived(seed, 'shuffle', epoch).permutation(count) };
    }
    return this.#shuffled.order;
  }
}

function picked(labels: Uint8Array, rows: Int32Array): Uint8Array {
  return Uint8Array.from(rows, (row) => labels[row]);
}

/** That of an array where it is large enough, else new. */
function memory(old: ArrayBufferView | undefined, byteLength: number): ArrayBufferLike {
  return old !== undefined && old.buffer.byteLength >= byteLength ? old.buffer : new ArrayBuffer(byteLength);
}
