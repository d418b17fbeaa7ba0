import { type Golden, goldenDifference, goldenItem, goldenLatents, goldenOf } from '@elbo/models';
import { describe, expect, it } from 'vitest';

const IMAGE = { input: { kind: 'image', shape: [1, 8, 8], value_range: [-1, 1] }, latent: { size: 3 } } as const;
const TABLE = { input: { kind: 'vector', shape: [4], value_range: [-10, 30] }, latent: { size: 2 } } as const;

const outputs = (length: number) => ({
  mean: Float32Array.of(0.5, -2),
  x_mean: Float32Array.from({ length }, (_, i) => i),
  score: Float32Array.of(100),
});

describe('the golden input', () => {
  it('is the same every time, and lies in the value range', () => {
    const item = goldenItem(IMAGE);
    expect(item).toEqual(goldenItem(IMAGE));
    expect(item).toHaveLength(64);
    expect(Math.min(...item)).toBeGreaterThanOrEqual(-1);
    expect(Math.max(...item)).toBeLessThanOrEqual(1);
    expect(new Set(item).size).toBeGreaterThan(60);
    expect([...goldenItem(TABLE)]).toEqual([10, 10, 10, 10]);
    expect(goldenLatents(TABLE)).toEqual(goldenLatents(TABLE));
    expect(goldenLatents(IMAGE)).toHaveLength(3);
  });

  it('keeps some numbers of a long output, evenly spread, and none of a table, whose codes may turn over', () => {
    expect(goldenOf(outputs(128), IMAGE).x_mean).toEqual(Array.from({ length: 64 }, (_, i) => 2 * i));
    expect(goldenOf(outputs(3), IMAGE).x_mean).toEqual([0, 1, 2]);
    expect(goldenOf(outputs(3), TABLE)).toEqual({ mean: [0.5, -2], score: [100] });
  });

  it('may differ by what execution providers differ by, and by no more', () => {
    const golden: Golden = goldenOf(outputs(3), IMAGE);
    expect(goldenDifference('mean', Float32Array.of(0.5009, -2.0019), golden)).toBeUndefined();
    expect(goldenDifference('score', Float32Array.of(100.09), golden)).toBeUndefined();
    expect(goldenDifference('score', Float32Array.of(100.2), golden)).toContain('the manifest says 100');
    expect(goldenDifference('mean', Float32Array.of(0.5, -2.01), golden)).toContain('at place 1 of 2');
    expect(goldenDifference('mean', Float32Array.of(0.5, Number.NaN), golden)).toContain('NaN');
    expect(goldenDifference('mean', Float32Array.of(0.5), golden)).toContain('undefined');
    expect(goldenDifference('x_mean', Float32Array.of(1), goldenOf(outputs(3), TABLE))).toBeUndefined();
  });
});
