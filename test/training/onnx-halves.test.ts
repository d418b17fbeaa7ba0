import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { readModel } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { exportWith } from '@elbo/training/export-again';
import { float32Initialisers, summarise } from '@elbo/training/onnx/decode';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { graphFromModel } from '@elbo/training/onnx/graph-from-model';
import { halvesOf, roundedToHalves, withoutHalves } from '@elbo/training/onnx/halves';
import { gemm } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { ConfigurationError } from '@elbo/training/vae/configuration';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const [ROWS, COLUMNS] = [40, 50];
const x = float32(
  Float32Array.from({ length: 3 * ROWS }, (_, i) => Math.sin(i)),
  [3, ROWS],
);

function graphWith(matrix: Float32Array): Graph {
  const graph = new Graph('halves');
  const input = graph.input('x', 'float32', ['N', ROWS]);
  const weight = graph.initialiser('weight', float32(matrix, [ROWS, COLUMNS]));
  const bias = graph.initialiser('bias', float32(new Float32Array(COLUMNS).fill(0.1), [COLUMNS]));
  graph.output(gemm(input, weight, bias), 'y');
  return graph;
}
const exact = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => Math.cos(i));
const rounded = roundedToHalves(exact);
const compactly = (graph: Graph) => encodeModel(graph, '', new Set(), { compact: true });

describe('constants that are float16 numbers', () => {
  test.each(['onnxruntime', 'tfjs'])('run by %s as those that are written in full', async (name) => {
    const engine = name === 'tfjs' ? await TfjsEngine.create() : new OnnxRuntimeEngine(1);
    const graph = graphWith(rounded);
    const [full, half] = await Promise.all([encodeModel(graph), compactly(graph)].map((file) => engine.load(file)));
    expect((await half.run({ x })).y).toEqual((await full.run({ x })).y);
    await full.release();
    await half.release();
  });

  test('take half the room, and are read back by name and value', () => {
    const graph = graphWith(rounded);
    const [full, half] = [encodeModel(graph), compactly(graph)];
    expect(full.length - half.length).toBeGreaterThan(2 * rounded.length - 200);
    expect(float32Initialisers(half).get('weight')).toEqual(rounded);
    expect(summarise(half).initialisers).toEqual(summarise(full).initialisers);
    expect(summarise(half).operators).toEqual(summarise(full).operators);
    expect(Buffer.from(compactly(graphFromModel(half))).equals(Buffer.from(half))).toBe(true);
  });

  test('are written in full where one is not such a number, or a name is taken', () => {
    expect(halvesOf('weight', float32(exact, [ROWS, COLUMNS]))).toBeUndefined();
    expect(float32Initialisers(compactly(graphWith(exact))).get('weight')).toEqual(exact);
    const graph = new Graph('taken');
    const input = graph.input('weight.half', 'float32', ['N', ROWS]);
    graph.output(gemm(input, graph.initialiser('weight', float32(rounded, [ROWS, COLUMNS]))), 'y');
    expect(Buffer.from(compactly(graph)).equals(Buffer.from(encodeModel(graph)))).toBe(true);
  });

  test('are the nearest, ties to even, and stay themselves beyond the range', () => {
    // 2048 and 2050 are neighbours in float16; 65520 and more would be infinite.
    expect([...roundedToHalves(Float32Array.of(2049, 2051, 0.1, -0))]).toEqual([2048, 2052, 0.0999755859375, -0]);
    expect([...roundedToHalves(Float32Array.of(0.1, 65520))].map(Math.fround)).toEqual([0.1, 65520].map(Math.fround));
  });

  test('any tensor comes back as it was', () => {
    const half = fc.float({ noNaN: true, noDefaultInfinity: true, min: -60000, max: 60000 });
    fc.assert(
      fc.property(fc.array(half, { minLength: 1, maxLength: 50 }), (pattern) => {
        const values = roundedToHalves(Float32Array.from({ length: 1500 }, (_, i) => pattern[i % pattern.length]));
        const halves = halvesOf('w', float32(values, [1500]));
        if (halves === undefined) throw new Error('not written in half precision');
        const { initializer, node } = withoutHalves({ initializer: [halves.tensor], node: [halves.cast] });
        expect(node).toEqual([]);
        const [{ rawData, name, dims }] = initializer;
        expect([name, dims]).toEqual(['w', [1500]]);
        expect(new Float32Array(rawData.buffer, rawData.byteOffset, 1500)).toEqual(values);
      }),
      { numRuns: 50 },
    );
  });

  test('whose data do not fill their shape are refused', () => {
    const halves = halvesOf('w', float32(rounded, [ROWS, COLUMNS]));
    if (halves === undefined) throw new Error('not written in half precision');
    const short = { ...halves.tensor, rawData: halves.tensor.rawData.subarray(2) };
    expect(() => withoutHalves({ initializer: [short], node: [halves.cast] })).toThrow(
      'w.half: 3998 bytes do not fill [40, 50]',
    );
  });
});

describe('a model in half precision', () => {
  const engine = new OnnxRuntimeEngine(1);
  const configuration = tinyConfiguration({
    encoder: { convolutions: [], hidden: [64] },
    decoder: { convolutions: [], hidden: [64] },
  });

  test('is half as large, and is what was trained but for the rounding', async () => {
    const store = temporaryDirectory();
    const dataset = barsDataset();
    const full = await train({ configuration, dataset, store, engine });
    if (full === undefined) throw new Error('the run stopped');
    const half = await exportWith({ directory: full.directory, store, dataset, engine, weight_precision: 'float16' });
    const direct = await train({
      configuration: { ...configuration, weight_precision: 'float16' },
      dataset,
      store,
      engine,
    });
    if (direct === undefined) throw new Error('the run stopped');
    // Training with the field and exporting with it later are one.
    for (const file of ['encoder.onnx', 'decoder.onnx', 'scorer.onnx']) {
      expect(half.manifest.files[file]).toEqual(direct.manifest.files[file]);
      expect(half.manifest.files[file].bytes).toBeLessThan(0.75 * full.manifest.files[file].bytes);
    }
    expect(half.manifest.training.configuration).toEqual(direct.manifest.training.configuration);
    const [of, was] = [half.manifest.metrics, full.manifest.metrics].map((m) => m.test_negative_elbo.value);
    expect(of).not.toBe(was);
    expect(Math.abs(of - was)).toBeLessThan(0.02);

    const { weights } = await readTrainedModel(half.directory);
    const { weights: before } = await readTrainedModel(full.directory);
    for (const [name, values] of before) {
      const expected = values.length < 1024 ? values : roundedToHalves(values);
      expect(weights.get(name), name).toEqual(expected);
    }
    expect((await readModel(half.directory)).manifest.version).toBe('2');
  });

  test('is refused under a name that is none before anything is measured', async () => {
    const store = temporaryDirectory();
    const dataset = barsDataset();
    const full = await train({ configuration, dataset, store, engine });
    if (full === undefined) throw new Error('the run stopped');
    await expect(exportWith({ directory: full.directory, store, dataset, engine, name: 'A B' })).rejects.toThrow(
      ConfigurationError,
    );
  });

  test('takes the data that it was trained on', async () => {
    const store = temporaryDirectory();
    const full = await train({ configuration, dataset: barsDataset(), store, engine });
    if (full === undefined) throw new Error('the run stopped');
    const copy = join(temporaryDirectory(), 'tiny', '1');
    cpSync(full.directory, copy, { recursive: true });
    await expect(
      exportWith({ directory: copy, store, dataset: barsDataset(300), engine, name: 'other' }),
    ).rejects.toThrow(/is not the data that tiny 1 was trained on/);
  });
});
