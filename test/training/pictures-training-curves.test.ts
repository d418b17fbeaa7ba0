import { type EpochRecord, trainingCurves } from '@elbo/training/pictures/training-curves';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';

const terms = (loss: number) => ({ loss, reconstruction: loss - 20, kl: 20 });
const history = (losses: readonly number[], validation = true): EpochRecord[] =>
  losses.map((loss, i) => ({
    epoch: i + 1,
    train: terms(loss),
    ...(validation && { validation: terms(loss + 2) }),
  }));

const curves = (svg: string, name: string) =>
  Array.from(svg.matchAll(new RegExp(`class="${name} curve" d="(M[^"]*L[^"]*)"`, 'g')), (match) => match[1] ?? '');
const points = (path: string) =>
  Array.from(path.matchAll(/[ML](-?[\d.]+),(-?[\d.]+)/g), (m) => [Number(m[1]), Number(m[2])]);
const texts = (svg: string) => Array.from(svg.matchAll(/<text[^>]*>([^<]*)</g), (match) => match[1] ?? '');

describe('training curves', () => {
  test.each([0, 1, 2, 20, 1000])('are a picture for %d epochs', async (epochs) => {
    const svg = trainingCurves(history(Array.from({ length: epochs }, (_, i) => 90 + 60 / (i + 1))));
    // librsvg refuses a document that isn't well-formed.
    const { width, height } = await sharp(Buffer.from(svg)).metadata();
    expect([width, height]).toEqual([960, 330]);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(texts(svg).filter((text) => text === 'no epoch yet')).toHaveLength(epochs === 0 ? 3 : 0);
  });

  test('place values in proportion, lower ones lower, with train and validation in one scale', () => {
    const [train = '', validation = ''] = ['train', 'validation'].map(
      (name) => curves(trainingCurves(history([120, 110, 100])), name)[0] ?? '',
    );
    const [a = [], b = [], c = []] = points(train);
    expect((b[0] as number) - (a[0] as number)).toBeCloseTo((c[0] as number) - (b[0] as number), 0);
    const nat = ((c[1] as number) - (a[1] as number)) / 20;
    expect(nat).toBeGreaterThan(0);
    expect(points(validation).map(([, y = 0], i) => ((points(train)[i]?.[1] ?? 0) - y) / nat)).toEqual([
      expect.closeTo(2, 0),
      expect.closeTo(2, 0),
      expect.closeTo(2, 0),
    ]);
  });

  test('name the unit, the epochs and the last value of each series', () => {
    const shown = texts(trainingCurves(history([120, 110, 101.25])));
    expect(shown).toEqual(expect.arrayContaining(['−ELBO (nats)', 'Reconstruction (nats)', 'KL divergence (nats)']));
    expect(shown).toEqual(
      expect.arrayContaining(['train 101.3', 'validation 103.3', 'train 81.25', 'epoch', '1', '2', '3']),
    );
    expect(shown).not.toContain('1.5');
  });

  test('without validation have no validation series', () => {
    const svg = trainingCurves(history([120, 110], false));
    expect(svg).not.toContain('class="validation');
    expect(texts(svg).join()).not.toContain('validation');
  });

  test('leave a gap where a value is not finite, and say so', () => {
    const svg = trainingCurves(history([120, 110, Number.NaN, 105, Number.POSITIVE_INFINITY, 102, 101], false));
    expect(curves(svg, 'train')[0]?.match(/M/g)).toHaveLength(3);
    expect(texts(svg)).toContain('2 not finite');
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  test('with no finite value at all say that', () => {
    expect(texts(trainingCurves(history([Number.NaN, Number.NaN])))).toContain('no finite value');
  });

  test('let a diverged epoch leave the panel instead of flattening the others, and say so', () => {
    const losses = Array.from({ length: 30 }, (_, i) => (i === 15 ? 1e9 : 100 - i));
    const svg = trainingCurves(history(losses, false));
    const heights = points(curves(svg, 'train')[0] ?? '').map(([, y = 0]) => y);
    expect(Math.min(...heights)).toBeLessThan(0);
    expect((heights[29] ?? 0) - (heights[0] ?? 0)).toBeGreaterThan(60);
    expect(texts(svg)).toContain('1 above, up to 1.00e+9');
  });

  test('have a dark palette for readers who prefer one, and load nothing', () => {
    const svg = trainingCurves(history([120, 110]));
    expect(svg).toContain('@media (prefers-color-scheme: dark)');
    expect(svg.replace('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|href|url\(|<script/);
  });

  test('are well-formed for any numbers', async () => {
    const number = fc.double();
    const record = fc.record({ loss: number, reconstruction: number, kl: number });
    const records = fc.array(fc.record({ train: record, validation: record }), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(records, async (epochs) => {
        const svg = trainingCurves(epochs.map((terms, i) => ({ epoch: i + 1, ...terms })));
        expect(svg).not.toMatch(/NaN|Infinity|undefined/);
        await sharp(Buffer.from(svg)).metadata();
      }),
    );
  });
});
