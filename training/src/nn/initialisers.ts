import type { RandomSource } from '@elbo/models';

/** Fills `size` numbers of a parameter before training. */
export type Initialiser = (random: RandomSource, size: number) => Float32Array;

export const zeros: Initialiser = (_, size) => new Float32Array(size);

/** The same number everywhere. */
export const filledWith =
  (value: number): Initialiser =>
  (_, size) =>
    new Float32Array(size).fill(value);

/** Starts from given numbers, for instance the bias that makes a decoder's first output the data's mean. */
export const startingAt =
  (values: ArrayLike<number>): Initialiser =>
  () =>
    Float32Array.from(values);

/** Uniform in ±sqrt(6 / (fanIn + fanOut)), which keeps the variance of signals and gradients (Glorot & Bengio, 2010). */
export function glorotUniform(fanIn: number, fanOut: number): Initialiser {
  const bound = Math.sqrt(6 / (fanIn + fanOut));
  return (random, size) => Float32Array.from({ length: size }, () => (2 * random.uniform() - 1) * bound);
}
