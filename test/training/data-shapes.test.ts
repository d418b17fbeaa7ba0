import { DataError } from '@elbo/training/data/data-error';
import { loadDataset } from '@elbo/training/data/datasets';
import { drawShapes, generateShapes, SHAPES_COMBINATIONS, SHAPES_FACTORS } from '@elbo/training/data/shapes';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';

const SIZE = 32;

function image(values: Uint8Array, row: number): Uint8Array {
  return values.subarray(row * SIZE * SIZE, (row + 1) * SIZE * SIZE);
}

/** Ink, its centre (pixel centres at whole numbers) and its bounding box, measured from the pixels. */
function measure(pixels: Uint8Array) {
  let ink = 0;
  let x = 0;
  let y = 0;
  const box = { left: SIZE, right: -1, top: SIZE, bottom: -1 };
  pixels.forEach((value, i) => {
    if (value === 0) return;
    const column = i % SIZE;
    const line = Math.floor(i / SIZE);
    ink += value / 255;
    x += (value / 255) * column;
    y += (value / 255) * line;
    box.left = Math.min(box.left, column);
    box.right = Math.max(box.right, column);
    box.top = Math.min(box.top, line);
    box.bottom = Math.max(box.bottom, line);
  });
  return { ink, x: x / ink, y: y / ink, ...box };
}

const draw = async (...rows: number[][]) => {
  const values = await drawShapes(Uint8Array.from(rows.flat()));
  return rows.map((_, row) => measure(image(values, row)));
};

describe('generated shapes', () => {
  test('are the same bytes for the same seed and others for another', async () => {
    const one = await generateShapes({ count: 200, seed: 11 });
    expect(await generateShapes({ count: 200, seed: 11 })).toEqual(one);
    expect((await generateShapes({ count: 200, seed: 12 })).factors.values).not.toEqual(one.factors.values);
  });

  test('are white on black, each at its place in the picture', async () => {
    const examples = await generateShapes({ count: 500, seed: 1 });
    const { count, factors } = examples;
    const values = await bytesOf(examples);
    expect(Buffer.compare(values, await drawShapes(factors.values))).toBe(0);
    for (let row = 0; row < count; row++) {
      const pixels = image(values, row);
      expect(Math.max(...pixels)).toBe(255);
      expect(pixels.filter((value) => value === 0).length).toBeGreaterThan(0.7 * SIZE * SIZE);
      const [shape, , , x = 0, y = 0] = factors.values.subarray(row * 5);
      if (shape === 2) continue; // A heart's centre of mass isn't the centre of its circle.
      const measured = measure(pixels);
      expect(Math.abs(measured.x - (x + 8))).toBeLessThan(0.1);
      expect(Math.abs(measured.y - (y + 8))).toBeLessThan(0.1);
    }
  });

  test('all differ, so that factors can be told from pixels', async () => {
    const examples = await generateShapes({ count: SHAPES_COMBINATIONS, seed: 0 });
    const { count } = examples;
    const values = await bytesOf(examples);
    const distinct = new Set<string>();
    for (let row = 0; row < count; row++) distinct.add(Buffer.from(image(values, row)).toString('latin1'));
    expect(distinct.size).toBe(SHAPES_FACTORS.cardinalities.reduce((product, size) => product * size, 1));
  });

  test('take every value of every factor equally often, factors independent of each other', async () => {
    const { count, labels, factors } = await generateShapes({ count: 12_000, seed: 3 });
    const { cardinalities, values } = factors;
    const factor = (row: number, index: number) => values[row * cardinalities.length + index] as number;
    expect(labels).toEqual(Uint8Array.from({ length: count }, (_, row) => factor(row, 0)));
    const chiSquare = (cells: number, cell: (row: number) => number) => {
      const counts = new Float64Array(cells);
      for (let row = 0; row < count; row++) counts[cell(row)] = (counts[cell(row)] as number) + 1;
      return counts.reduce((sum, n) => sum + (n - count / cells) ** 2 / (count / cells), 0);
    };
    cardinalities.forEach((a, i) => {
      cardinalities.slice(0, i).forEach((b, j) => {
        const degrees = a * b - 1;
        const statistic = chiSquare(a * b, (row) => factor(row, i) * b + factor(row, j));
        expect(statistic).toBeLessThan(degrees + 5 * Math.sqrt(2 * degrees));
      });
    });
  });

  test('grow with the scale factor as areas do', async () => {
    for (const [shape, area] of [
      [0, 1.4 ** 2],
      [1, Math.PI * 0.5],
    ] as const) {
      const sprites = await draw(...[0, 1, 2, 3, 4, 5].map((scale) => [shape, scale, 3, 8, 8]));
      sprites.forEach(({ ink }, scale) => {
        const radius = 4 + 0.8 * scale;
        expect(Math.abs(ink / (area * radius ** 2) - 1)).toBeLessThan(0.03);
      });
    }
  });

  test('turn with the orientation factor', async () => {
    const [flat, upright, square, diamond] = await draw(
      [1, 5, 0, 8, 8],
      [1, 5, 15, 8, 8],
      [0, 5, 0, 8, 8],
      [0, 5, 8, 8, 8],
    );
    const width = (sprite: typeof flat) => (sprite ? sprite.right - sprite.left : Number.NaN);
    const height = (sprite: typeof flat) => (sprite ? sprite.bottom - sprite.top : Number.NaN);
    expect(width(flat)).toBeGreaterThan(1.5 * height(flat));
    expect(height(upright)).toBeGreaterThan(1.5 * width(upright));
    expect(width(diamond)).toBeGreaterThan(1.25 * width(square));
  });

  test.each([0, -1, 1.5, SHAPES_COMBINATIONS + 1, Number.NaN])('refuse a count of %d', async (count) => {
    const result = generateShapes({ count, seed: 0 });
    await expect(result).rejects.toThrow(DataError);
    await expect(result).rejects.toThrow(`count is ${count}; expected an integer from 1 to 73728`);
  });

  test('refuse factors out of range', async () => {
    await expect(drawShapes(Uint8Array.of(0, 6, 0, 0, 0))).rejects.toThrow('scale of row 0 is 6; expected 0 to 5');
    await expect(drawShapes(Uint8Array.of(0, 0, 0, 0, 0, 1))).rejects.toThrow(/row 1 is undefined/);
  });
});

test('no test image of the shapes data set is a training image', async () => {
  const { input, train, test: held, sha256 } = await loadDataset('shapes');
  expect(input.shape).toEqual([1, SIZE, SIZE]);
  expect([train.count, held.count]).toEqual([10_000, 2_000]);
  expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  const seen = new Set<string>();
  for (const part of [train, held]) {
    const values = await bytesOf(part);
    expect(values.length).toBe(part.count * SIZE * SIZE);
    for (let row = 0; row < part.count; row++) seen.add(Buffer.from(image(values, row)).toString('latin1'));
  }
  expect(seen.size).toBe(12_000);
});
