import { RandomSource } from '@elbo/models';
import type { Features } from './features.js';

/** Blocks that there are at the least, so that their spread says something of the error. */
const BLOCKS = 10;
/** Images of each set in a block at the most; the cost grows with its square (Bińkowski et al., 2018, take as many). */
const BLOCK_SIZE = 1000;
/** Images of a set at the least: two in each block. */
export const FEWEST_IMAGES = 2 * BLOCKS;

export interface KernelDistance {
  /** Mean over blocks; unbiased, and so below 0 half the time where both sets have one distribution. */
  readonly value: number;
  /** Of that mean, from the spread of the blocks. */
  readonly standardError: number;
  readonly blocks: number;
  /** Images of each set in a block. */
  readonly blockSize: number;
}

/**
 * The squared maximum mean discrepancy by the kernel (x·y / size + 1)³, as in KID (Bińkowski et al., 2018, section 4),
 * averaged over blocks that have no image in common.
 * @param a @param b at least FEWEST_IMAGES images each
 * @param seed of which images make a block
 */
export function kernelDistance(a: Features, b: Features, seed: number): KernelDistance {
  const most = Math.min(a.count, b.count);
  const blockSize = Math.min(BLOCK_SIZE, Math.floor(most / BLOCKS));
  const blocks = Math.floor(most / blockSize);
  const orders = [a, b].map(({ count }, i) => RandomSource.derived(seed, 'kernel blocks', i).permutation(count));
  const values = Array.from({ length: blocks }, (_, block) => {
    const [ofA, ofB] = orders.map((order) => order.subarray(block * blockSize, (block + 1) * blockSize));
    return squaredDiscrepancy(rowsOf(a, ofA), rowsOf(b, ofB));
  });
  const value = values.reduce((sum, each) => sum + each, 0) / blocks;
  const variance = values.reduce((sum, each) => sum + (each - value) ** 2, 0) / (blocks - 1);
  return { value, standardError: Math.sqrt(variance / blocks), blocks, blockSize };
}

/**
 * The unbiased estimate of the squared maximum mean discrepancy (Gretton et al., 2012, eq. 3), over all pairs.
 * @param a @param b at least 2 images each
 */
export function squaredDiscrepancy(a: Features, b: Features): number {
  return kernelMeanWithin(a) + kernelMeanWithin(b) - 2 * kernelMeanBetween(a, b);
}

/** Over pairs of different images. */
function kernelMeanWithin({ count, size, values }: Features): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < i; j++) sum += kernel(values, i * size, values, j * size, size);
  }
  return (2 * sum) / (count * (count - 1));
}

function kernelMeanBetween(a: Features, b: Features): number {
  const { size } = a;
  let sum = 0;
  for (let i = 0; i < a.count; i++) {
    for (let j = 0; j < b.count; j++) sum += kernel(a.values, i * size, b.values, j * size, size);
  }
  return sum / (a.count * b.count);
}

function kernel(a: Float32Array, fromA: number, b: Float32Array, fromB: number, size: number): number {
  let product = 0;
  for (let i = 0; i < size; i++) product += a[fromA + i] * b[fromB + i];
  return (product / size + 1) ** 3;
}

function rowsOf({ size, values }: Features, rows: Int32Array): Features {
  const chosen = new Float32Array(rows.length * size);
  for (const [to, from] of rows.entries()) chosen.set(values.subarray(from * size, (from + 1) * size), to * size);
  return { count: rows.length, size, values: chosen };
}
