import { type GraphInput, inputTensors, withLabels } from '@elbo/server/inference/rows';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

describe('rows of a graph', () => {
  it('of items and labels come apart into the tensors of both inputs', () => {
    const shape = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 });
    const classes = fc.integer({ min: 2, max: 9 });
    const seeds = fc.array(fc.nat(), { minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(shape, classes, seeds, (itemShape, width, numbers) => {
        const size = itemShape.reduce((product, dimension) => product * dimension, 1);
        const rows = numbers.length;
        const items = Float32Array.from({ length: rows * size }, (_, i) => i + 0.5);
        const labels = numbers.map((number) => number % width);
        const inputs: GraphInput[] = [
          { name: 'x', shape: itemShape },
          { name: 'label', shape: [width] },
        ];
        const [x, label] = inputTensors(inputs, withLabels(items, labels, width), rows);
        expect(x).toEqual({ name: 'x', data: items, dims: [rows, ...itemShape] });
        const oneHot = labels.flatMap((one) => Array.from({ length: width }, (_, k) => Number(k === one)));
        expect(label).toEqual({ name: 'label', data: Float32Array.from(oneHot), dims: [rows, width] });
      }),
    );
  });

  it('of a single input are its tensor, without a copy', () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const [tensor, ...others] = inputTensors([{ name: 'x', shape: [1, 2] }], data, 2);
    expect(tensor?.data).toBe(data);
    expect(tensor?.dims).toEqual([2, 1, 2]);
    expect(others).toEqual([]);
  });
});
