import { mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RandomSource, readManifest, readModel } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { ServedModel } from '@elbo/training/offline/served-model';
import { float32 } from '@elbo/training/onnx/tensor';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { elbo } from '../support/elbo.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const COUNT = 48;

/** Colour images of a bright square on grey, of two sizes. */
async function goodParts(folder: string): Promise<void> {
  mkdirSync(folder);
  const random = new RandomSource(3);
  for (let i = 0; i < COUNT; i++) {
    const side = i % 2 === 0 ? 40 : 56;
    const pixels = Uint8Array.from({ length: side * side * 3 }, (_, at) => {
      const [row, column] = [Math.floor(at / 3 / side) / side, (Math.floor(at / 3) % side) / side];
      const isPart = row > 0.3 && row < 0.7 && column > 0.3 && column < 0.7;
      return (isPart ? 200 : 90) + random.integer(10);
    });
    const raw = { width: side, height: side, channels: 3 } as const;
    await writeFile(join(folder, `${i}.png`), await sharp(pixels, { raw }).png().toBuffer());
  }
}

test('a folder of images of any size becomes a detector whose error map is largest at a defect', async () => {
  const folder = temporaryDirectory();
  const images = join(folder, 'good');
  await goodParts(images);
  const [store, few] = [join(folder, 'store'), 'encoder.convolutions=[]'];
  const trained = await elbo([
    ...['train', '--preset', 'inspect', '--dataset', images, '--out', store, '--threads', '1', '--epochs', '30'],
    // A small network, since the preset's takes minutes.
    ...['--set', few, '--set', 'decoder.convolutions=[]', '--set', 'encoder.hidden=[8]', '--set', 'decoder.hidden=[8]'],
    ...['--set', 'latent_size=4', '--set', 'batch_size=4', '--set', 'image_size={"height":64,"width":64}'],
  ]);
  expect(trained.stderr).not.toContain('expected');
  expect(trained.code).toBe(0);
  const directory = join(store, 'inspection', '1');
  const { input, scorer, calibration } = await readManifest(directory);
  expect(input).toMatchObject({ kind: 'image', shape: [3, 64, 64], colour: 'rgb' });
  expect(scorer.scored).toEqual(['nats_by_contrast', 'nats_by_variation', 'reconstruction_peak']);
  expect(calibration.size).toBeGreaterThanOrEqual(10);

  const x = new Float32Array(3 * 64 * 64).fill(94 / 255);
  for (const plane of [0, 1, 2]) {
    for (let row = 20; row < 45; row++) x.fill(204 / 255, (plane * 64 + row) * 64 + 20, (plane * 64 + row) * 64 + 45);
    for (const row of [50, 51, 52]) x.fill(1, (plane * 64 + row) * 64 + 8, (plane * 64 + row) * 64 + 12);
  }
  const model = await ServedModel.open(new OnnxRuntimeEngine(1), await readModel(directory));
  const map = await model.errorMaps({ x: float32(x, [1, 3, 64, 64]) });
  await model.release();
  const at = map.indexOf(map.reduce((largest, value) => Math.max(largest, value))) % (64 * 64);
  expect(
    [Math.floor(at / 64), at % 64].map((place, i) => (i === 0 ? [50, 51, 52] : [8, 9, 10, 11]).includes(place)),
  ).toEqual([true, true]);
});

test('--image-size goes before the size of the preset', async () => {
  const folder = temporaryDirectory();
  const images = join(folder, 'good');
  await goodParts(images);
  const { code } = await elbo([
    ...['train', '--preset', 'inspect', '--dataset', images, '--out', folder, '--threads', '1', '--epochs', '1'],
    ...['--image-size', '32x48'],
  ]);
  expect(code).toBe(0);
  expect((await readManifest(join(folder, 'inspection', '1'))).input).toMatchObject({ shape: [3, 32, 48] });
});
