import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { byDetail, imageDetail } from '@elbo/training/export/image-detail';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { scalar } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { expect, test } from 'vitest';

const engine = new OnnxRuntimeEngine(1);

async function detailOf(pixels: readonly number[], shape: readonly number[]) {
  const graph = new Graph('detail');
  const x = graph.input('x', 'float32', ['N', ...shape]);
  const { contrast, variation } = imageDetail(x);
  graph.output(contrast, 'contrast');
  graph.output(variation, 'variation');
  graph.output(byDetail(scalar(graph, 6), variation, 20), 'share');
  const program = await engine.load(encodeModel(graph));
  const size = shape.reduce((product, length) => product * length, 1);
  const outputs = await program.run({ x: float32(pixels, [pixels.length / size, ...shape]) });
  await program.release();
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data, Number)]));
}

test('two rows of three pixels, by hand', async () => {
  // The mean is 1 / 3: four zeros are 1 / 9 away in square, two ones 4 / 9.
  const { contrast, variation, share } = await detailOf([0, 1, 0, 1, 0, 0], [1, 2, 3]);
  expect(contrast[0]).toBeCloseTo(4 / 9 + 8 / 9, 6);
  expect(variation[0]).toBeCloseTo(5, 6);
  expect(share[0]).toBeCloseTo(6 / (5 + 2), 6);
});

test('the negative of an image has as much, and colours add up, each about its own mean', async () => {
  const image = [0.1, 0.9, 0.4, 0.3, 0, 1, 0.2, 0.7];
  const [one, negative, lighter] = [image, image.map((v) => 1 - v), image.map((v) => 0.5 + v / 2)];
  const grey = await detailOf([...one, ...negative, ...lighter], [1, 2, 4]);
  const colour = await detailOf([...one, ...negative, ...lighter], [3, 2, 4]);
  expect(grey.contrast[1]).toBeCloseTo(grey.contrast[0], 5);
  expect(grey.variation[1]).toBeCloseTo(grey.variation[0], 5);
  expect(grey.contrast[2]).toBeCloseTo(grey.contrast[0] / 4, 5);
  expect(grey.variation[2]).toBeCloseTo(grey.variation[0] / 2, 5);
  for (const part of ['contrast', 'variation']) {
    expect(colour[part][0]).toBeCloseTo(
      grey[part].reduce((sum, value) => sum + value),
      5,
    );
  }
});

test('an image of one shade has none, and its nats are not divided by nothing', async () => {
  const { contrast, variation, share } = await detailOf(new Array<number>(25).fill(0.7), [1, 5, 5]);
  expect(contrast[0]).toBeCloseTo(0, 8);
  expect(variation).toEqual([0]);
  expect(share[0]).toBeCloseTo(3, 6);
});

test('an image of one row has differences beside only', async () => {
  const { contrast, variation } = await detailOf([0, 1, 1], [1, 1, 3]);
  expect(contrast[0]).toBeCloseTo(2 / 3, 6);
  expect(variation[0]).toBeCloseTo(1, 6);
});
