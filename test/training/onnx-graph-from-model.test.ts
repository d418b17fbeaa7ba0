import { gradients } from '@elbo/training/autodiff/gradients';
import { encodeModel } from '@elbo/training/onnx/encode';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph } from '@elbo/training/onnx/graph';
import { graphFromModel } from '@elbo/training/onnx/graph-from-model';
import { operatorNames } from '@elbo/training/onnx/inference';
import * as ops from '@elbo/training/onnx/ops';
import { decodeModelProto, encodeModelProto, type GraphProto } from '@elbo/training/onnx/protobuf';
import { DATA_TYPES, float32, int64 } from '@elbo/training/onnx/tensor';
import { buildTrainingGraph } from '@elbo/training/trainer/training-graph';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';
import { sampleOf } from './support/gradient-checks.js';
import { engine, graphOf, weightedSum } from './support/harness.js';
import { operatorCases } from './support/operator-cases.js';
import { applyRandomCall, randomCall } from './support/random-calls.js';

/** A layer, a loop whose body takes its weights from outside and holds a branch, and every way to an output. */
function exampleGraph(): Graph {
  const graph = new Graph('example');
  const x = graph.input('x', 'float32', ['N', 2]);
  const w = graph.initialiser('w', float32([0.5, -1, 2, 0.25], [2, 2]));
  const { states, collected } = ops.loop(graph.constant(int64([3], [])), [x], 'steps', (iteration, [state]) => {
    const next = ops.tanh(ops.matmul(state, w));
    const isEarly = ops.less(ops.cast(iteration, 'float32'), 1);
    const chosen = ops.ifElse(
      isEarly,
      [next],
      ([inside]) => [ops.mul(inside, 2)],
      ([inside]) => [inside],
    );
    return { states: chosen, collected: [ops.reduceSum(next, [0])] };
  });
  const first = graph.output(states[0], 'y');
  graph.output(states[0], 'y_again');
  graph.output(first, 'of_an_output');
  graph.output(x, 'same');
  graph.output(w, 'weights');
  graph.output(collected[0], 'history');
  graph.output(ops.clip(ops.reshape(x, ['N', 1, 2]), 0.1, 0.7), 'clipped');
  return graph;
}

function trainingGraph(): Graph {
  const configuration = tinyConfiguration({ weight_average_decay: 0.9 });
  const model = buildModel(configuration, [1, 6, 6]);
  return buildTrainingGraph(vaeObjective(model, configuration), {
    batchSize: 4,
    inputShape: [1, 6, 6],
    inputType: 'uint8',
    binarise: true,
    averageDecay: 0.9,
  }).graph;
}

function expectSameBytes(graph: Graph): void {
  const bytes = encodeModel(graph);
  expect(Buffer.from(encodeModel(graphFromModel(bytes)))).toEqual(Buffer.from(bytes));
}

describe('the graph of a file, written again, is that file', () => {
  test('loops, branches and outputs of every kind', () => {
    expectSameBytes(exampleGraph());
  });

  test('training', () => {
    expectSameBytes(trainingGraph());
  });

  test('every operator with its gradients', () => {
    for (const operatorCase of operatorCases) {
      const { inputs, weights } = sampleOf(operatorCase, 1);
      const shapes = inputs.map(({ shape }) => shape);
      const graph = graphOf(shapes, (...x) => {
        const output = operatorCase.elbo(...x);
        return [output, ...gradients(weightedSum(output, weights), x)];
      });
      expectSameBytes(graph);
    }
  });

  test('random calls of every operator', () => {
    fc.assert(
      fc.property(fc.constantFrom(...operatorNames).chain(randomCall), (call) => {
        const graph = new Graph('random');
        try {
          applyRandomCall(graph, call);
        } catch (error) {
          expect(error).toBeInstanceOf(GraphError);
          return;
        }
        for (const [i, output] of (graph.nodes.at(-1)?.outputs ?? []).entries()) graph.output(output, `y${i}`);
        expectSameBytes(graph);
      }),
      { numRuns: 300 },
    );
  });

  test.each(Object.keys(DATA_TYPES) as (keyof typeof DATA_TYPES)[])('constants of type %s', (dtype) => {
    const graph = new Graph('constants');
    const { array } = DATA_TYPES[dtype];
    graph.output(
      graph.constant({ dtype, shape: [3], data: new array(new ArrayBuffer(3 * DATA_TYPES[dtype].bytes)) }),
      'y',
    );
    expectSameBytes(graph);
  });
});

test('what is read computes what was written', async () => {
  const feeds = { x: float32([0.3, -0.6, 1, 2], [2, 2]) };
  const results = [];
  for (const graph of [exampleGraph(), graphFromModel(encodeModel(exampleGraph()))]) {
    const program = await engine.compile(graph);
    results.push(await program.run(feeds));
    await program.release();
  }
  expect(results[1]).toEqual(results[0]);
});

test('names that repeat in graphs beside each other are told apart', () => {
  const { graph, ...model } = decodeModelProto(encodeModel(exampleGraph()));
  const rename = (proto: GraphProto): void => {
    for (const { opType, attribute } of proto.node) {
      for (const { g } of attribute) {
        if (g === undefined) continue;
        rename(g);
        if (opType !== 'If') continue;
        const old = g.output[0].name;
        g.output[0].name = 'branch_output';
        for (const node of g.node) node.output = node.output.map((name) => (name === old ? 'branch_output' : name));
      }
    }
  };
  rename(graph);
  const read = graphFromModel(encodeModelProto({ ...model, graph }));
  expect(read.outputs.map(({ name }) => name)).toEqual(exampleGraph().outputs.map(({ name }) => name));
});

describe('files that cannot be read are refused with a reason', () => {
  const damaged = (change: (graph: GraphProto) => void) => {
    const model = decodeModelProto(encodeModel(exampleGraph()));
    change(model.graph);
    return () => graphFromModel(encodeModelProto(model));
  };

  const cases: Record<string, [(graph: GraphProto) => void, string]> = {
    'an operator that is not known': [({ node }) => Object.assign(node[0], { opType: 'Foo' }), 'Foo'],
    'an operator of another domain': [
      ({ node }) => Object.assign(node[0], { domain: 'com.microsoft' }),
      'operators of domain com.microsoft are not known',
    ],
    'a value that nobody computes': [
      ({ node }) => Object.assign(node[0], { input: ['nothing'] }),
      'input nothing is not computed before it is used',
    ],
    'a node before what it reads': [({ node }) => node.reverse(), 'is not computed before it is used'],
    'an output that nobody computes': [
      ({ output }) => Object.assign(output[0], { name: 'nothing' }),
      'output nothing is not computed',
    ],
    'two values of one name': [({ input }) => input.push(input[0]), 'the name x is taken'],
    'an initialiser without its data': [
      ({ initializer }) => Object.assign(initializer[0], { rawData: new Uint8Array(3) }),
      '3 bytes do not fill',
    ],
    'an output of another shape': [
      ({ output }) => Object.assign(output[0].type.tensorType.shape, { dim: [{ dimValue: 7 }] }),
      'y is float32 [N, 2]; expected float32 [7]',
    ],
    'a loop without a body': [
      ({ node }) => Object.assign(node[0], { attribute: [] }),
      'Loop: attribute body is missing',
    ],
  };
  test.each(Object.entries(cases))('%s', (_name, [change, reason]) => {
    expect(damaged(change)).toThrow(GraphError);
    expect(damaged(change)).toThrow(reason);
  });

  const read = (bytes: Uint8Array): void => {
    try {
      graphFromModel(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(GraphError);
    }
  };

  test('random bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), read), { numRuns: 1_000 });
  });

  test('a model with random bytes in random places', () => {
    const original = encodeModel(exampleGraph());
    const change = fc.tuple(fc.nat(original.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const bytes = Uint8Array.from(original);
        for (const [at, value] of changes) bytes[at] = value;
        read(bytes);
      }),
      { numRuns: 2_000 },
    );
  });

  test('a model that is cut anywhere', () => {
    const original = encodeModel(exampleGraph());
    for (let length = 0; length < original.length; length++) read(original.subarray(0, length));
  });

  test('graphs inside graphs, too deep', () => {
    const loop = (body: GraphProto | undefined): GraphProto => ({
      name: 'nested',
      node: [
        {
          name: 'n',
          opType: 'Loop',
          input: ['trips', ''],
          output: [],
          attribute: body === undefined ? [] : [{ name: 'body', type: 5, g: body }],
        },
      ],
      initializer: [{ name: 'trips', dataType: DATA_TYPES.int64.code, dims: [], rawData: new Uint8Array(8) }],
      input: [],
      output: [],
    });
    let nested = loop(undefined);
    for (let depth = 0; depth < 20; depth++) nested = loop(nested);
    const x = { name: 'trips', type: { tensorType: { elemType: DATA_TYPES.int64.code, shape: { dim: [] } } } };
    const model = { irVersion: 8, producerName: '', producerVersion: '', docString: '', opsetImport: [] };
    const bytes = encodeModelProto({ ...model, graph: { ...nested, output: [x] } });
    expect(() => graphFromModel(bytes)).toThrow('graphs are nested more than 16 deep');
  });
});
