import type { InputTensor } from './onnxruntime.js';

/** One input of a graph: its tensor is [N, ...shape]. */
export interface GraphInput {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Numbers in one row of an input. */
export function rowSize({ shape }: GraphInput): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/**
 * Rows of what a graph with two inputs takes: the item, then its label one-hot.
 * @param items N x size of an item
 * @param labels class numbers, N
 * @returns N x (size of an item + classes)
 */
export function withLabels(items: Float32Array, labels: readonly number[], classes: number): Float32Array {
  const size = items.length / labels.length;
  const width = size + classes;
  const rows = new Float32Array(labels.length * width);
  for (const [row, label] of labels.entries()) {
    rows.set(items.subarray(row * size, (row + 1) * size), row * width);
    rows[row * width + size + label] = 1;
  }
  return rows;
}

/**
 * The tensors that a graph takes, from rows that hold one after another what each input takes. That of a single input is
 * over the rows as they are, without a copy.
 * @param data `rows` rows
 */
export function inputTensors(inputs: readonly GraphInput[], data: Float32Array, rows: number): InputTensor[] {
  const width = data.length / rows;
  let offset = 0;
  return inputs.map((input) => {
    const columns = inputs.length === 1 ? data : columnsOf(data, width, offset, rowSize(input));
    offset += rowSize(input);
    return { name: input.name, data: columns, dims: [rows, ...input.shape] };
  });
}

function columnsOf(data: Float32Array, width: number, offset: number, size: number): Float32Array {
  const columns = new Float32Array((data.length / width) * size);
  for (let from = offset, to = 0; from < data.length; from += width, to += size) {
    columns.set(data.subarray(from, from + size), to);
  }
  return columns;
}
