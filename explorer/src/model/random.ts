/** Seeds of the service are uint32. */
export const LARGEST_SEED = 2 ** 32 - 1;

/** Mulberry32: seeded numbers in [0, 1), for inputs that need repeat and nothing else. */
export function seededNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
