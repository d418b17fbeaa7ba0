import { summarise } from '@elbo/training/onnx/decode';
import { encodeModel } from '@elbo/training/onnx/encode';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { AttributeType, decodeModelProto, encodeModelProto, type ModelProto } from '@elbo/training/onnx/protobuf';
import { DATA_TYPES, float32, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engine, expectClose, numbersOf, withGraph } from './support/harness.js';

/** A layer, a loop that takes its weights from outside, and what nothing depends on. */
function exampleGraph(): Graph {
  const graph = new Graph('example');
  const x = graph.input('x', 'float32', ['N', 2]);
  const w = graph.initialiser('w', float32([0.5, -1, 2, 0.25], [2, 2]));
  graph.initialiser('unused_weights', float32([1, 2, 3], [3]));
  ops.exp(ops.mul(x, 1234.5));
  const { states } = ops.loop(graph.constant(int64([3], [])), [x], 'steps', (_, [state]) => {
    ops.log(state as Tensor);
    return { states: [ops.tanh(ops.matmul(state as Tensor, w))], collected: [] };
  });
  graph.output(states[0] as Tensor, 'y');
  return graph;
}

describe('the bytes of a model', () => {
  test('the same graph gives the same bytes, another graph others', () => {
    expect(encodeModel(exampleGraph())).toEqual(encodeModel(exampleGraph()));
    const graph = exampleGraph();
    expect(encodeModel(graph)).toEqual(encodeModel(graph));
    graph.output(graph.inputs[0] as Tensor, 'also_x');
    expect(encodeModel(graph)).not.toEqual(encodeModel(exampleGraph()));
  });

  test('nodes and initialisers that no output depends on are left out, inside a loop too', () => {
    const { graph } = decodeModelProto(encodeModel(exampleGraph()));
    expect(graph.node.map(({ opType }) => opType)).toEqual(['Loop']);
    expect(graph.initializer.map(({ name }) => name)).toContain('w');
    expect(graph.initializer.map(({ name }) => name)).not.toContain('unused_weights');
    expect(graph.initializer).toHaveLength(3);
    const body = graph.node[0]?.attribute[0]?.g;
    expect(body?.node.map(({ opType }) => opType)).toEqual(['MatMul', 'Tanh', 'Identity']);
  });

  test('say what the model takes and gives', () => {
    expect(summarise(encodeModel(exampleGraph(), 'a description'))).toMatchObject({
      name: 'example',
      description: 'a description',
      producer: 'elbo',
      opset: 18,
      inputs: { x: { dtype: 'float32', shape: ['N', 2] } },
      outputs: { y: { dtype: 'float32', shape: ['N', 2] } },
      operators: { Loop: 1 },
      initialisers: { w: { dtype: 'float32', shape: [2, 2] } },
    });
  });

  test('a computed output is written under its own name; an input, a constant or a second output is copied', async () => {
    const graph = new Graph('outputs');
    const x = graph.input('x', 'float32', [2]);
    const doubled = ops.mul(x, 2);
    const first = graph.output(doubled, 'first');
    graph.output(doubled, 'second');
    graph.output(first, 'of_an_output');
    graph.output(x, 'same');
    graph.output(graph.constant(float32([7], [1])), 'fixed');
    graph.output(ops.neg(doubled), 'negative');
    const { node } = decodeModelProto(encodeModel(graph)).graph;
    expect(node.map(({ opType, output }) => `${opType} ${output[0]}`)).toEqual([
      'Mul first',
      'Identity second',
      'Identity of_an_output',
      'Identity same',
      'Identity fixed',
      'Neg negative',
    ]);
    const outputs = await withGraph(graph, (run) => run(float32([1, -3], [2])));
    const expected = [[2, -6], [2, -6], [2, -6], [1, -3], [7], [-2, 6]];
    expect(outputs.map((output) => numbersOf(output as TensorData))).toEqual(expected);
  });

  test('load in ONNX Runtime, which computes what they say', async () => {
    let state = [0.3, -0.6];
    for (let i = 0; i < 3; i++) {
      const [a, b] = state as [number, number];
      state = [Math.tanh(0.5 * a + 2 * b), Math.tanh(-a + 0.25 * b)];
    }
    const [y] = await withGraph(exampleGraph(), (run) => run(float32([0.3, -0.6], [1, 2])));
    expectClose(numbersOf(y as TensorData), state, 1e-6, 'y');
  });

  test.each(Object.keys(DATA_TYPES) as (keyof typeof DATA_TYPES)[])('keep constants of type %s', async (dtype) => {
    const graph = new Graph('constants');
    const values = dtype === 'bool' ? [1, 0, 1] : dtype === 'uint8' ? [0, 128, 255] : [-7, 0, 2 ** 30];
    const array =
      dtype === 'int64' ? BigInt64Array.from(values, BigInt) : DATA_TYPES[dtype].array.from(values as never);
    graph.output(graph.constant({ dtype, shape: [3], data: array }), 'y');
    const [y] = await withGraph(graph, (run) => run());
    expect(y).toEqual({ dtype, shape: [3], data: array });
  });

  test('keep a constant that is a part of a larger buffer, and special numbers', async () => {
    const values = Float32Array.of(9, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-45, 9).subarray(1, 5);
    const graph = new Graph('special');
    graph.output(graph.constant(float32(values, [4])), 'y');
    graph.output(graph.constant(float32([0, -0], [2])), 'zeros');
    const [y, zeros] = await withGraph(graph, (run) => run());
    expect(y?.data).toEqual(values);
    expect(zeros?.data).toEqual(Float32Array.of(0, -0));
  });

  test('equal small constants are stored once, -0 apart from 0', () => {
    const graph = new Graph('constants');
    const x = graph.input('x', 'float32', [2]);
    graph.output(ops.add(ops.mul(x, 2), 2), 'y');
    graph.output(ops.add(ops.add(x, 0), -0), 'z');
    expect(decodeModelProto(encodeModel(graph)).graph.initializer).toHaveLength(3);
  });
});

// Strings and integers of every kind that protobuf stores, and each kind of attribute.
const name = fc.string({ unit: 'grapheme', maxLength: 8 });
const integer = fc.maxSafeInteger();
const bytes = fc.uint8Array({ maxLength: 16 });
const tensor = fc.record({ name, dataType: fc.nat(20), dims: fc.array(integer, { maxLength: 3 }), rawData: bytes });
const sparseTensor = fc.record({ values: tensor, indices: tensor, dims: fc.array(integer, { maxLength: 3 }) });
const valueInfo = fc.record({
  name,
  type: fc.record({
    tensorType: fc.record({
      elemType: fc.nat(20),
      shape: fc.record({
        dim: fc.array(fc.oneof(fc.record({ dimValue: integer }), fc.record({ dimParam: name })), { maxLength: 3 }),
      }),
    }),
  }),
});
const { graph: graphProto } = fc.letrec((tie) => {
  const none = { floats: fc.constant([] as number[]), ints: fc.constant([] as number[]) };
  const kind = (type: number) => fc.constant(type);
  const attribute = fc.oneof(
    { depthSize: 'small' },
    fc.record({ ...none, name, type: kind(AttributeType.INT), i: integer }),
    fc.record({ ...none, name, type: kind(AttributeType.FLOAT), f: fc.float({ noNaN: true }) }),
    fc.record({ ...none, name, type: kind(AttributeType.STRING), s: bytes }),
    fc.record({ ...none, name, type: kind(AttributeType.TENSOR), t: tensor }),
    fc.record({ ...none, name, type: kind(AttributeType.INTS), ints: fc.array(integer, { maxLength: 4 }) }),
    fc.record({
      ...none,
      name,
      type: kind(AttributeType.FLOATS),
      floats: fc.array(fc.float({ noNaN: true }), { maxLength: 4 }),
    }),
    fc.record({ ...none, name, type: kind(AttributeType.GRAPH), g: tie('graph') }),
  );
  const node = fc.record({
    input: fc.array(name, { maxLength: 3 }),
    output: fc.array(name, { maxLength: 3 }),
    name,
    opType: name,
    domain: name,
    attribute: fc.array(attribute, { maxLength: 2 }),
  });
  return {
    graph: fc.record({
      node: fc.array(node, { maxLength: 3 }),
      name,
      docString: name,
      initializer: fc.array(tensor, { maxLength: 2 }),
      sparseInitializer: fc.array(sparseTensor, { maxLength: 2 }),
      input: fc.array(valueInfo, { maxLength: 2 }),
      output: fc.array(valueInfo, { maxLength: 2 }),
    }),
  };
});
const model = fc.record({
  irVersion: integer,
  producerName: name,
  producerVersion: name,
  docString: name,
  graph: graphProto,
  opsetImport: fc.array(fc.record({ domain: name, version: integer }), { maxLength: 2 }),
}) as fc.Arbitrary<ModelProto>;

describe('the protobuf codec', () => {
  test('gives back every message that it wrote', () => {
    fc.assert(
      fc.property(model, (message) => {
        const encoded = encodeModelProto(message);
        const decoded = decodeModelProto(encoded);
        expect(plain(decoded)).toEqual(plain(message));
        expect(encodeModelProto(decoded)).toEqual(encoded);
      }),
      { numRuns: 300 },
    );
  });

  test('an attribute holds one value, a dimension a length or a name', () => {
    const { graph } = decodeModelProto(encodeModel(exampleGraph()));
    expect(Object.keys(graph.node[0]?.attribute[0] ?? {}).toSorted()).toEqual(['floats', 'g', 'ints', 'name', 'type']);
    expect(graph.input[0]?.type.tensorType.shape.dim).toEqual([{ dimParam: 'N' }, { dimValue: 2 }]);
  });

  test('a copy of a decoded model computes the same', async () => {
    const bytes = encodeModel(exampleGraph());
    const feeds = { x: float32([0.3, -0.6, 1, 2], [2, 2]) };
    const results = [];
    for (const model of [bytes, encodeModelProto(decodeModelProto(bytes))]) {
      const program = await engine.load(model);
      results.push(await program.run(feeds));
      await program.release();
    }
    expect(results[1]).toEqual(results[0]);
  });
});

describe('hostile bytes end in an error of their own kind or in a summary', () => {
  const read = (input: Uint8Array): void => {
    try {
      summarise(input);
    } catch (error) {
      expect(error).toBeInstanceOf(GraphError);
    }
  };

  test('random bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), read), { numRuns: 2_000 });
  });

  test('a model with random bytes in random places', () => {
    const original = encodeModel(exampleGraph());
    const change = fc.tuple(fc.nat(original.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const damaged = Uint8Array.from(original);
        for (const [at, value] of changes) damaged[at] = value;
        read(damaged);
      }),
      { numRuns: 3_000 },
    );
  });

  test('a model with any one byte changed', () => {
    const original = encodeModel(exampleGraph());
    for (const [at, byte] of original.entries()) {
      for (const value of [0, 1, 0x7f, 0xff, ...[0, 1, 2, 3, 4, 5, 6, 7].map((bit) => byte ^ (1 << bit))]) {
        const damaged = Uint8Array.from(original);
        damaged[at] = value;
        read(damaged);
      }
    }
  });

  test('a truncated model, wherever it is cut, is refused or lacks its opset', () => {
    const original = encodeModel(exampleGraph());
    for (let length = 0; length < original.length; length++) {
      const cut = original.subarray(0, length);
      read(cut);
      const isWhole = length >= original.length - 6;
      if (!isWhole) expect(() => summarise(cut), `cut to ${length} bytes`).toThrow(GraphError);
    }
  });

  test('graphs inside graphs without end', () => {
    // Each level: attribute { g: graph { node { attribute … } } }, all of whose lengths are true.
    let inner: Uint8Array = new Uint8Array();
    for (let depth = 0; depth < 20_000; depth++) {
      for (const tag of [0x32, 0x0a, 0x2a]) inner = Buffer.concat([Uint8Array.of(tag, ...varint(inner.length)), inner]);
      if (inner.length > 100_000) break;
    }
    read(Buffer.concat([Uint8Array.of(0x3a, ...varint(inner.length)), inner]));
  });

  test('a length that lies about gigabytes', () => {
    read(Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x07));
    read(Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f));
  });
});

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

/** Buffers and typed arrays alike as lists, so that messages compare by value. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, part) => {
      if (part?.type === 'Buffer') return part.data;
      if (part instanceof Uint8Array) return [...part];
      if (Object.is(part, -0)) return '-0';
      return typeof part === 'number' && !Number.isFinite(part) ? String(part) : part;
    }),
  );
}
