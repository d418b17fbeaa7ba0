import { encodePng, imageGrid } from '@elbo/training/pictures/image-grid';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';

describe('an image grid', () => {
  test('shows every pixel of every image where it belongs, background elsewhere', () => {
    const layout = fc.record({
      channels: fc.constantFrom(1 as const, 3 as const),
      height: fc.integer({ min: 1, max: 5 }),
      width: fc.integer({ min: 1, max: 5 }),
      columns: fc.integer({ min: 1, max: 4 }),
      gap: fc.integer({ min: 0, max: 3 }),
      scale: fc.integer({ min: 1, max: 3 }),
      count: fc.integer({ min: 1, max: 9 }),
      background: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(layout, ({ channels, height, width, columns, gap, scale, count, background }) => {
        const size = channels * height * width;
        const items = Array.from({ length: count }, (_, k) =>
          Uint8Array.from({ length: size }, (_, i) => 37 * k + 11 * i),
        );
        const shape = [channels, height, width] as const;
        const grid = imageGrid(items, { shape, columns, gap, background, scale });
        const across = Math.min(columns, count);
        const down = Math.ceil(count / across);
        expect([grid.width, grid.height, grid.channels]).toEqual([
          across * width * scale + (across - 1) * gap,
          down * height * scale + (down - 1) * gap,
          channels,
        ]);
        // The other way round than the grid is drawn: from each pixel back to the image that it shows.
        for (let y = 0; y < grid.height; y++) {
          for (let x = 0; x < grid.width; x++) {
            const column = Math.floor(x / (width * scale + gap));
            const row = Math.floor(y / (height * scale + gap));
            const left = Math.floor((x % (width * scale + gap)) / scale);
            const top = Math.floor((y % (height * scale + gap)) / scale);
            const item = left < width && top < height ? items[row * across + column] : undefined;
            for (let c = 0; c < channels; c++) {
              const expected = item === undefined ? background : item[(c * height + top) * width + left];
              expect(grid.data[(y * grid.width + x) * channels + c]).toBe(expected);
            }
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  test('maps numbers from [0, 1] to bytes, clips others, draws NaN as 0', () => {
    const item = Float32Array.of(0, 1, 0.5, -3, 7, Number.NaN, 254.6 / 255, Number.POSITIVE_INFINITY);
    const { data } = imageGrid([item], { shape: [1, 2, 4], columns: 1 });
    expect(Array.from(data)).toEqual([0, 255, 128, 0, 255, 0, 255, 255]);
  });

  test('refuses no images, images of another size and other channel counts', () => {
    const options = { shape: [1, 2, 2], columns: 2 } as const;
    expect(() => imageGrid([], options)).toThrow('no images; expected at least one');
    expect(() => imageGrid([new Uint8Array(4), new Uint8Array(5)], options)).toThrow(
      'image 1 has 5 values; expected 1 x 2 x 2',
    );
    expect(() => imageGrid([new Uint8Array(8)], { shape: [2, 2, 2], columns: 1 })).toThrow('2 channels; expected 1');
  });
});

describe('PNG encoding', () => {
  test.each([
    ['grey', 1, 'b-w'],
    ['RGB', 3, 'srgb'],
  ] as const)('keeps every %s byte and the number of channels', async (_, channels, space) => {
    const data = Uint8Array.from({ length: 16 * 16 * channels }, (_, i) => (i * 89) % 256);
    const png = await encodePng({ width: 16, height: 16, channels, data });
    expect(await sharp(png).metadata()).toMatchObject({
      format: 'png',
      depth: 'uchar',
      width: 16,
      height: 16,
      channels,
      space,
    });
    const decoded = await sharp(png).toColourspace(space).raw().toBuffer();
    expect(Uint8Array.from(decoded)).toEqual(data);
    expect(await encodePng({ width: 16, height: 16, channels, data })).toEqual(png);
  });
});
