import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { float32Initialisers, summarise } from '@elbo/training/onnx/decode';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { graphFromModel } from '@elbo/training/onnx/graph-from-model';
import { add, gemm } from '@elbo/training/onnx/ops';
import { denseTensor, sparseTensor } from '@elbo/training/onnx/sparse';
import { float32 } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const [ROWS, COLUMNS] = [40, 50];
const x = float32(
  Float32Array.from({ length: 3 * ROWS }, (_, i) => Math.sin(i)),
  [3, ROWS],
);

/** A product with a matrix of which every `step`-th number is not 0, and a bias that is. */
function graphWith(step: number): { graph: Graph; matrix: Float32Array } {
  const matrix = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => (i % step === 0 ? Math.cos(i) : 0));
  const graph = new Graph('sparse');
  const input = graph.input('x', 'float32', ['N', ROWS]);
  const bias = graph.initialiser('bias', float32(new Float32Array(COLUMNS).fill(0.5), [COLUMNS]));
  const zeros = graph.initialiser('zeros', float32(new Float32Array(2 * COLUMNS * 20), [2 * 20, COLUMNS]));
  const weight = graph.initialiser('weight', float32(matrix, [ROWS, COLUMNS]));
  graph.output(gemm(input, add(weight, zeros), bias), 'y');
  return { graph, matrix };
}
const sparsely = (graph: Graph) => encodeModel(graph, '', new Set(), { compact: true });

describe('initialisers that are mostly zeros', () => {
  test.each(['onnxruntime', 'tfjs'])('run by %s as those that are written whole', async (name) => {
    const engine = name === 'tfjs' ? await TfjsEngine.create() : new OnnxRuntimeEngine(1);
    const { graph } = graphWith(20);
    const [dense, sparse] = await Promise.all([encodeModel(graph), sparsely(graph)].map((file) => engine.load(file)));
    expect((await sparse.run({ x })).y).toEqual((await dense.run({ x })).y);
    await dense.release();
    await sparse.release();
  });

  test('take less room, and are read back, by name and value', () => {
    const { graph, matrix } = graphWith(20);
    const [dense, sparse] = [encodeModel(graph), sparsely(graph)];
    expect(sparse.length).toBeLessThan(dense.length / 5);
    expect(float32Initialisers(sparse).get('weight')).toEqual(matrix);
    expect(float32Initialisers(sparse)).toEqual(new Map([...float32Initialisers(dense)]));
    expect(summarise(sparse).initialisers).toMatchObject(summarise(dense).initialisers);
    expect(encodeModel(graphFromModel(sparse)).length).toBe(dense.length);
  });

  test('are written whole where that takes less room', () => {
    const { graph, matrix } = graphWith(2);
    expect(sparseTensor('weight', float32(matrix, [ROWS, COLUMNS]))).toBeUndefined();
    expect(float32Initialisers(sparsely(graph)).get('weight')).toEqual(matrix);
  });

  test('any tensor comes back as it was', () => {
    const value = fc.oneof({ arbitrary: fc.constant(0), weight: 20 }, fc.float({ noNaN: true }));
    fc.assert(
      fc.property(fc.array(value, { minLength: 1024, maxLength: 1100 }), (values) => {
        const sparse = sparseTensor('x', float32(values, [values.length]));
        if (sparse === undefined) return;
        const { rawData, dims } = denseTensor(sparse);
        expect(dims).toEqual([values.length]);
        expect(new Float32Array(rawData.slice().buffer)).toEqual(Float32Array.from(values));
      }),
      { numRuns: 30 },
    );
  });

  test.each([
    ['a place outside', { place: 1024n, dims: [1024] }, /x: a value stands at 1024 of 1024/],
    ['a place before', { place: -1n, dims: [1024] }, /x: a value stands at -1 of 1024/],
    ['more values than elements', { place: 0n, dims: [1, 0] }, /x: 1 values do not fit \[1, 0\]/],
    ['a shape beyond memory', { place: 0n, dims: [1 << 30, 4] }, /x: 1 values do not fit/],
    ['no shape', { place: 0n, dims: [-1] }, /x: it has no shape/],
  ])('%s is refused', (_, { place, dims }, message) => {
    const tensor = {
      values: { name: 'x', dataType: 1, dims: [1], rawData: new Uint8Array(4) },
      indices: { name: '', dataType: 7, dims: [1], rawData: new Uint8Array(BigInt64Array.of(place).buffer) },
      dims,
    };
    expect(() => denseTensor(tensor)).toThrow(message);
    const { values, indices } = tensor;
    expect(() => denseTensor({ ...tensor, values: { ...values, dataType: 7 } })).toThrow(/values are not float32/);
    expect(() => denseTensor({ ...tensor, indices: { ...indices, dataType: 6 } })).toThrow(/places are not int64/);
    expect(() => denseTensor({ values, indices: { ...indices, rawData: new Uint8Array(3) }, dims: [4] })).toThrow(
      /do not fill/,
    );
  });
});
