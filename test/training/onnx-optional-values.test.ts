import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { decodeModelProto } from '@elbo/training/onnx/protobuf';
import { float32, type Tensor } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { evaluate, graphOf, numbersOf } from './support/harness.js';

const nodeOf = (graph: Graph, operator: string) =>
  decodeModelProto(encodeModel(graph)).graph.node.find(({ opType }) => opType === operator);

describe('optional outputs', () => {
  test('stand in the file only where they are used', () => {
    const pooled = graphOf([[1, 1, 4]], (x) => [ops.maxPool(x as Tensor, [2])]);
    expect(nodeOf(pooled, 'MaxPool')?.output).toHaveLength(1);
    const withPositions = graphOf([[1, 1, 4]], (x) => {
      const [, positions] = ops.applyAll('MaxPool', [x], { kernel_shape: { kind: 'ints', value: [2] } });
      return [ops.cast(positions as Tensor, 'float32')];
    });
    expect(nodeOf(withPositions, 'MaxPool')?.output).toHaveLength(2);
  });

  test('parts of a Split are all written, used or not', async () => {
    const build = (x: Tensor | undefined) => [ops.split(x as Tensor, 0, [1, 2, 1])[1] as Tensor];
    expect(nodeOf(graphOf([[4]], build), 'Split')?.output).toHaveLength(3);
    const [middle] = await evaluate([float32([1, 2, 3, 4], [4])], build);
    expect(middle && numbersOf(middle)).toEqual([2, 3]);
  });
});

test('optional inputs at the end that are left out are not written', () => {
  const graph = new Graph('test');
  const [x, scale] = [graph.input('x', 'float32', [2, 3]), graph.input('scale', 'float32', [3])];
  graph.output(ops.apply('LayerNormalization', [x, scale, undefined]), 'y');
  expect(nodeOf(graph, 'LayerNormalization')?.input).toEqual(['x', 'scale']);
});

test('a string attribute is written as its UTF-8 bytes', () => {
  const node = nodeOf(
    graphOf([[4]], (x) => [ops.pad(x as Tensor, 0, 1, 1, 'reflect')]),
    'Pad',
  );
  const mode = node?.attribute.find(({ name }) => name === 'mode');
  expect(new TextDecoder().decode(mode?.s)).toBe('reflect');
});
