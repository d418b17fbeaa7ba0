import { createHash } from 'node:crypto';
import { xoroshiro128plus, xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';

/** Draws thrown away after seeding: small seeds give a state of mostly equal bits, which takes a while to mix. */
const WARM_UP = 64;

/**
 * Seeded random numbers, the same on every machine: training noise, shuffles and served samples all come from here,
 * so that the command line and the service draw the same numbers for a seed.
 * The generator is xoroshiro128+ (Blackman & Vigna, 2018).
 */
export class RandomSource {
  #generator: ReturnType<typeof xoroshiro128plus>;

  /**
   * @param seed an integer from 0 to 2^32 - 1
   * @param stream index of an independent stream of that seed (2^64 draws apart), so that one use of random numbers
   *   can draw more without moving another
   */
  constructor(seed: number, stream = 0) {
    this.#generator = xoroshiro128plus(seed);
    for (let i = 0; i < stream; i++) this.#generator.jump();
    for (let i = 0; i < WARM_UP; i++) this.#generator.next();
  }

  /** The generator's state as integers, for a checkpoint. */
  get state(): readonly number[] {
    return this.#generator.getState();
  }

  /** A source that continues where `state` was read. */
  static fromState(state: readonly number[]): RandomSource {
    const source = new RandomSource(0);
    source.#generator = xoroshiro128plusFromState(state);
    return source;
  }

  /**
   * A source of its own for each use of a seed, such as the noise of step 12: what is drawn for one does not depend on
   * what was drawn for others, so nothing but the seed need be kept to draw it again.
   * @param seed an integer from 0 to 2^32 - 1
   */
  static derived(seed: number, ...use: readonly (string | number)[]): RandomSource {
    const digest = createHash('sha256')
      .update(JSON.stringify([seed, ...use]))
      .digest();
    return RandomSource.fromState([0, 4, 8, 12].map((at) => digest.readInt32LE(at)));
  }

  /** Uniform over the integers 0 … 2^32 - 1. */
  uint32(): number {
    return this.#generator.next() >>> 0;
  }

  /** Uniform in [0, 1), with 32 random bits. */
  uniform(): number {
    return this.uint32() * 2 ** -32;
  }

  /** Uniform over the integers 0 … bound - 1. */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Fills with standard normals (Box-Muller, which needs no rejection, so a fill of n always takes as many draws). */
  fillNormal(target: Float32Array): Float32Array {
    for (let i = 0; i < target.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log((this.uint32() + 1) * 2 ** -32));
      const angle = this.uint32() * 2 ** -32 * 2 * Math.PI;
      target[i] = radius * Math.cos(angle);
      if (i + 1 < target.length) target[i + 1] = radius * Math.sin(angle);
    }
    return target;
  }

  /**
   * Fills with uniform integers 0 … 254, so that `byte > noise` is true with probability exactly byte / 255:
   * the thresholds of dynamic binarisation. Words with a byte 255 are drawn anew.
   */
  fillBinarisationThresholds(target: Uint8Array): Uint8Array {
    const generator = this.#generator;
    for (let i = 0; i < target.length; i += 4) {
      let word = generator.next();
      // A byte of the word is 255 where the same byte of its complement is 0 (the classic zero-byte test).
      while (((~word - 0x01010101) & word & 0x80808080) !== 0) word = generator.next();
      target[i] = word & 255;
      if (i + 3 < target.length) {
        target[i + 1] = (word >>> 8) & 255;
        target[i + 2] = (word >>> 16) & 255;
        target[i + 3] = word >>> 24;
      } else {
        for (let j = 1; i + j < target.length; j++) target[i + j] = (word >>> (8 * j)) & 255;
      }
    }
    return target;
  }

  /** A uniform permutation of 0 … size - 1 (Fisher-Yates). */
  permutation(size: number): Int32Array {
    const order = Int32Array.from({ length: size }, (_, i) => i);
    for (let i = size - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swapped = order[i] as number;
      order[i] = order[j] as number;
      order[j] = swapped;
    }
    return order;
  }
}
