import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GRAPH_FILES } from '@elbo/models';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { exp, gemm, log, relu, sigmoid, softplus, tanh } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fixtureModel, VECTOR_INPUT, writeFixture } from './support/fixture-models.js';
import { type RunningService, startService } from './support/running-service.js';

let directory: string;
let running: RunningService;

/** Odd widths and every element-wise operator that a VAE is made of: where ONNX Runtime rounds by position if at all. */
function oddEncoder(): Uint8Array {
  const graph = new Graph('encoder');
  const draw = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) / 2);
  const dense = (x: ReturnType<typeof relu>, name: string, from: number, to: number) =>
    gemm(
      x,
      graph.initialiser(`${name}_w`, float32(draw(from * to), [from, to])),
      graph.initialiser(`${name}_b`, float32(draw(to), [to])),
    );
  const x = graph.input('x', 'float32', ['N', 5]);
  const hidden = softplus(dense(tanh(dense(x, 'a', 5, 7)), 'b', 7, 11));
  const deep = log(exp(sigmoid(dense(hidden, 'c', 11, 9))));
  graph.output(dense(deep, 'm', 9, 3), 'mean');
  graph.output(softplus(dense(relu(deep), 'v', 9, 3)), 'log_variance');
  return encodeModel(graph);
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elbo-odd-'));
  const model = fixtureModel({ name: 'odd', input: VECTOR_INPUT, latentSize: 3 });
  model.files.set(GRAPH_FILES.encoder, oddEncoder());
  await writeFixture(directory, model);
  const condition = { classes: 3, frequencies: [0.2, 0.3, 0.5] };
  await writeFixture(directory, fixtureModel({ name: 'conditional', input: VECTOR_INPUT, latentSize: 3, condition }));
  running = await startService(directory, { workers: 1, maxBatch: 16 });
});
afterAll(async () => {
  await running.close();
  await rm(directory, { recursive: true, force: true });
});

it('an item has the same result bit by bit alone and among any others', async () => {
  const { service } = running;
  const model = service.registry.get('odd');
  const rows = 37;
  const items = Float32Array.from({ length: rows * 5 }, (_, i) => Math.cos(i * 78.233) * 9);
  const together = await service.encode(model, items.slice());
  for (const size of [1, 2, 3, 5, 8, 13]) {
    for (let start = 0; start + size <= rows; start += size) {
      const part = await service.encode(model, items.slice(start * 5, (start + size) * 5));
      expect([...part.mean]).toEqual([...together.mean.subarray(start * 3, (start + size) * 3)]);
      expect([...part.logVariance]).toEqual([...together.logVariance.subarray(start * 3, (start + size) * 3)]);
    }
  }
});

it('an item of a class has the same result bit by bit among items of any other classes', async () => {
  const { service } = running;
  const model = service.registry.get('conditional');
  const rows = 37;
  const items = Float32Array.from({ length: rows * 5 }, (_, i) => Math.cos(i * 78.233) * 9);
  const labels = Array.from({ length: rows }, (_, i) => (i * i) % 3);
  const together = await service.reconstruct(model, items.slice(), { labels });
  for (const size of [1, 3, 8, 13]) {
    // All at once, so that parts of several requests share a batch.
    const parts = Array.from({ length: Math.floor(rows / size) }, async (_, n) => {
      const [from, to] = [n * size, (n + 1) * size];
      const part = await service.reconstruct(model, items.slice(from * 5, to * 5), { labels: labels.slice(from, to) });
      expect([...part]).toEqual([...together.subarray(from * 5, to * 5)]);
    });
    await Promise.all(parts);
  }
  const others = await service.reconstruct(model, items.slice(), { labels: labels.map((label) => (label + 1) % 3) });
  expect([...others.subarray(0, 5)]).not.toEqual([...together.subarray(0, 5)]);
});

it('a conditional model is not run without a label for each item', async () => {
  const { service } = running;
  const items = () => new Float32Array(10);
  const expected = /expected a label for each item of a conditional model/;
  const conditional = service.registry.get('conditional');
  await expect(service.encode(conditional, items())).rejects.toThrow(expected);
  await expect(service.encode(conditional, items(), { labels: [1] })).rejects.toThrow(expected);
  await expect(service.encode(service.registry.get('odd'), items(), { labels: [1, 1] })).rejects.toThrow(expected);
});
