import { RandomSource } from '@elbo/models';
import { elementCount, float32, type Shape, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';

// tfjs advises Node users to take tfjs-node; here its plain kernels are the oracle.
tf.enableProdMode();

/**
 * Where an input's values are drawn: inside the operator's domain, away from its kinks by more than the finite
 * differences step over. `grid` values differ from each other by at least 0.5, and from those of another offset by 0.25.
 */
export type Domain =
  | { readonly low: number; readonly high: number; readonly awayFrom?: readonly number[] }
  | { readonly gridOffset: number };

export const REAL: Domain = { low: -1.5, high: 1.5 };
export const NOT_ZERO: Domain = { low: -1.5, high: 1.5, awayFrom: [0] };
export const POSITIVE: Domain = { low: 0.5, high: 2 };
export const GRID: Domain = { gridOffset: 0 };
export const GRID_BETWEEN: Domain = { gridOffset: 0.25 };

export interface CaseInput {
  readonly shape: readonly number[];
  readonly domain: Domain;
}

export interface OperatorCase {
  readonly operator: string;
  readonly name: string;
  readonly inputs: readonly CaseInput[];
  readonly elbo: (...x: Tensor[]) => Tensor;
  readonly tfjs: (...x: tf.Tensor[]) => tf.Tensor;
  /** Inputs whose first axis may have a name instead of a length. */
  readonly batched: readonly number[];
}

export function unary(
  operator: string,
  elbo: (x: Tensor) => Tensor,
  tfjs: (x: tf.Tensor) => tf.Tensor,
  domain: Domain = REAL,
): OperatorCase[] {
  return [
    { operator, name: 'matrix', inputs: [{ shape: [2, 3], domain }], elbo, tfjs, batched: [0] },
    { operator, name: 'scalar', inputs: [{ shape: [], domain }], elbo, tfjs, batched: [] },
  ];
}

export function one(
  operator: string,
  name: string,
  shape: readonly number[],
  elbo: (x: Tensor) => Tensor,
  tfjs: (x: tf.Tensor) => tf.Tensor,
  batched: readonly number[] = [],
  domain: Domain = REAL,
): OperatorCase {
  return { operator, name, inputs: [{ shape, domain }], elbo, tfjs, batched };
}

/** A case of several inputs, one shape each. */
export function several(
  operator: string,
  name: string,
  shapes: readonly (readonly number[])[],
  elbo: (...x: Tensor[]) => Tensor,
  tfjs: (...x: tf.Tensor[]) => tf.Tensor,
  batched: readonly number[] = [],
  domains: readonly Domain[] = [],
): OperatorCase {
  const inputs = shapes.map((shape, i) => ({ shape, domain: domains[i] ?? REAL }));
  return { operator, name, inputs, elbo, tfjs, batched };
}

/** Values of a case's inputs, each a multiple of 1/256, so that a step of a power of two is exact in float32. */
export function drawInputs(inputs: readonly CaseInput[], seed: number): TensorData[] {
  const random = new RandomSource(seed);
  return inputs.map(({ shape, domain }) => {
    const count = elementCount(shape);
    if ('gridOffset' in domain) {
      const places = random.permutation(count);
      return float32(
        Array.from(places, (place) => (place - (count >> 1)) * 0.5 + domain.gridOffset),
        shape,
      );
    }
    const { low, high, awayFrom = [] } = domain;
    const draw = (): number => {
      const value = Math.round((low + (high - low) * random.uniform()) * 256) / 256;
      return awayFrom.some((kink) => Math.abs(value - kink) < 0.25) ? draw() : value;
    };
    return float32(Array.from({ length: count }, draw), shape);
  });
}

/** The case's shapes with the first axis of its batched inputs `length` long. */
export function withBatch(operatorCase: Pick<OperatorCase, 'inputs' | 'batched'>, length: number): CaseInput[] {
  return operatorCase.inputs.map((input, i) =>
    operatorCase.batched.includes(i) ? { ...input, shape: [length, ...input.shape.slice(1)] } : input,
  );
}

export function symbolicShapes({ inputs, batched }: Pick<OperatorCase, 'inputs' | 'batched'>): Shape[] {
  return inputs.map(({ shape }, i) => (batched.includes(i) ? ['N', ...shape.slice(1)] : shape));
}
