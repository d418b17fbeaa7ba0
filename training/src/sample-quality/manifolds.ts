import type { Engine, Program } from '../engines/engine.js';
import { Graph } from '../onnx/graph.js';
import { gemm } from '../onnx/ops.js';
import { float32 } from '../onnx/tensor.js';
import type { Features } from './features.js';

/** Of each point, whose distance is its radius (Kynkäänniemi et al., 2019, section 5, take 3). */
export const NEIGHBOURS = 3;

/** Rows of each side of a block of distances: a few MiB. */
const BLOCK_ROWS = 1000;

/** Of the squared lengths of two points: a smaller squared distance is what float32 leaves of equal points. */
const ROUNDING = 4e-6;

/** The region that a set of points stands for: a ball around each that reaches to its k-th nearest neighbour in the set. */
export interface Manifold {
  readonly features: Features;
  /** [count] */
  readonly squaredRadii: Float64Array;
}

/**
 * Regions of feature space by nearest neighbours. Products of features run on the engine: the distances of 10,000 points
 * to as many take 10¹⁰ multiplications.
 */
export class Manifolds {
  readonly #products: Program;
  readonly #neighbours: number;

  private constructor(products: Program, neighbours: number) {
    this.#products = products;
    this.#neighbours = neighbours;
  }

  /** @param size numbers in the features of a point */
  static async create(engine: Pick<Engine, 'compile'>, size: number, neighbours = NEIGHBOURS): Promise<Manifolds> {
    const graph = new Graph('products');
    const a = graph.input('a', 'float32', ['N', size]);
    const b = graph.input('b', 'float32', ['M', size]);
    graph.output(gemm(a, b, undefined, { transB: true }), 'products');
    return new Manifolds(await engine.compile(graph), neighbours);
  }

  /** @param features of more points than there are neighbours */
  async of(features: Features): Promise<Manifold> {
    const nearest = Array.from({ length: features.count }, () =>
      new Float64Array(this.#neighbours).fill(Number.POSITIVE_INFINITY),
    );
    await this.#eachDistance(features, features, (i, j, distance) => {
      if (i !== j) keepSmallest(nearest[i], distance);
    });
    return { features, squaredRadii: Float64Array.from(nearest, (distances) => distances[this.#neighbours - 1]) };
  }

  /**
   * Which share of the generated points lies in the region of the real ones, and the other way round: precision and recall
   * of Kynkäänniemi et al. (2019, eq. 1 and 2).
   * @returns both from 0 to 1
   */
  async precisionAndRecall(real: Manifold, generated: Manifold): Promise<{ precision: number; recall: number }> {
    const isReal = new Uint8Array(generated.features.count);
    const isGenerated = new Uint8Array(real.features.count);
    await this.#eachDistance(real.features, generated.features, (i, j, distance) => {
      if (distance <= real.squaredRadii[i]) isReal[j] = 1;
      if (distance <= generated.squaredRadii[j]) isGenerated[i] = 1;
    });
    return { precision: mean(isReal), recall: mean(isGenerated) };
  }

  release(): Promise<void> {
    return this.#products.release();
  }

  /** Calls with the squared Euclidean distance of each point of `a` to each of `b`. */
  async #eachDistance(a: Features, b: Features, take: (i: number, j: number, distance: number) => void): Promise<void> {
    const [lengthsOfA, lengthsOfB] = [squaredLengths(a), squaredLengths(b)];
    for (let top = 0; top < a.count; top += BLOCK_ROWS) {
      const rows = block(a, top);
      for (let left = 0; left < b.count; left += BLOCK_ROWS) {
        const columns = block(b, left);
        const { products } = await this.#products.run({ a: rows, b: columns });
        const [height, width] = products.shape;
        const values = products.data as Float32Array;
        for (let row = 0; row < height; row++) {
          for (let column = 0; column < width; column++) {
            const lengths = lengthsOfA[top + row] + lengthsOfB[left + column];
            const distance = lengths - 2 * values[row * width + column];
            take(top + row, left + column, distance <= ROUNDING * lengths ? 0 : distance);
          }
        }
      }
    }
  }
}

function block({ count, size, values }: Features, start: number) {
  const end = Math.min(count, start + BLOCK_ROWS);
  return float32(values.subarray(start * size, end * size), [end - start, size]);
}

function squaredLengths({ count, size, values }: Features): Float64Array {
  const lengths = new Float64Array(count);
  for (let i = 0; i < values.length; i++) lengths[Math.floor(i / size)] += values[i] ** 2;
  return lengths;
}

/** Puts a number among the smallest ones so far, in ascending order, in place of the largest. */
function keepSmallest(smallest: Float64Array, value: number): void {
  let at = smallest.length - 1;
  if (value >= smallest[at]) return;
  for (; at > 0 && smallest[at - 1] > value; at--) smallest[at] = smallest[at - 1];
  smallest[at] = value;
}

function mean(values: Uint8Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
