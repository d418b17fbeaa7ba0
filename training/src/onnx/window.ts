import type { Attributes } from './graph.js';

/** How a kernel walks over the spatial axes of [N, C, …]: one number for each of these axes. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Padding at the start and at the end of each axis. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** ConvTranspose only: what is added to the end of each axis of its output. */
  readonly outputPadding: readonly number[];
}

/** The window that a node's attributes describe, ONNX's defaults included: stride and dilation 1, no padding. */
export function windowOf(attributes: Attributes, kernel: readonly number[]): Window {
  const ints = (name: string, fallback: number, count = kernel.length): readonly number[] => {
    const attribute = attributes[name];
    return attribute?.kind === 'ints' ? attribute.value : new Array<number>(count).fill(fallback);
  };
  const pads = ints('pads', 0, 2 * kernel.length);
  return {
    kernel,
    strides: ints('strides', 1),
    dilations: ints('dilations', 1),
    before: pads.slice(0, kernel.length),
    after: pads.slice(kernel.length),
    outputPadding: ints('output_padding', 0),
  };
}

/** How many elements of an axis a dilated kernel spans. */
export function span({ kernel, dilations }: Pick<Window, 'kernel' | 'dilations'>, axis: number): number {
  return (at(kernel, axis) - 1) * at(dilations, axis) + 1;
}

/** The length that Conv and the pools make of a spatial axis; 0 or less where the kernel does not fit into it. */
export function windowedLength(length: number, window: Window, axis: number): number {
  const padded = length + at(window.before, axis) + at(window.after, axis);
  return Math.floor((padded - span(window, axis)) / at(window.strides, axis)) + 1;
}

/** The length that ConvTranspose makes of a spatial axis. */
export function transposedLength(length: number, window: Window, axis: number): number {
  const whole = (length - 1) * at(window.strides, axis) + span(window, axis) + at(window.outputPadding, axis);
  return whole - at(window.before, axis) - at(window.after, axis);
}

function at(values: readonly number[], axis: number): number {
  return values[axis] as number;
}
