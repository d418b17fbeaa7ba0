import { GraphError } from './errors.js';
import type { Attributes } from './graph.js';
import type { Inference } from './inference/call.js';
import { CONVOLUTION } from './inference/convolution.js';
import { ELEMENTWISE } from './inference/elementwise.js';
import { INDEXING } from './inference/indexing.js';
import { LINEAR } from './inference/linear.js';
import { NORMALISATION } from './inference/normalisation.js';
import { REDUCTIONS } from './inference/reductions.js';
import { SHAPING } from './inference/shaping.js';
import { formatShape, type Tensor, type TensorType } from './tensor.js';

/** The types and shapes of every operator's outputs: one entry an operator, after ONNX's operator schemas (opset 18). */
const OPERATORS: Readonly<Record<string, Inference>> = {
  ...ELEMENTWISE,
  ...LINEAR,
  ...CONVOLUTION,
  ...NORMALISATION,
  ...REDUCTIONS,
  ...SHAPING,
  ...INDEXING,
};

export const operatorNames: readonly string[] = Object.keys(OPERATORS);

/** How many outputs an operator must have where its last ones are optional. */
const REQUIRED_OUTPUTS: Readonly<Record<string, number>> = { MaxPool: 1, LayerNormalization: 1 };

export function requiredOutputs(operator: string): number | undefined {
  return REQUIRED_OUTPUTS[operator];
}

/** @throws {GraphError} naming the operator, its inputs and the rule that they break */
export function inferTypes(
  operator: string,
  inputs: readonly (Tensor | undefined)[],
  attributes: Attributes,
): TensorType[] {
  const refuse = (rule: string): never => {
    const given = inputs.map((t) => (t === undefined ? 'none' : `${t.dtype} ${formatShape(t.shape)}`));
    throw new GraphError(`${operator}(${given.join(', ')}): ${rule}`);
  };
  const inference = OPERATORS[operator];
  if (inference === undefined) return refuse('this operator is not known');
  let taken = 0;
  const read = new Set<string>();
  /** The attribute's value, or the fallback where it is missing or of another kind. */
  const attribute = <K extends 'int' | 'ints' | 'float' | 'string', T>(kind: K, name: string, fallback?: T): T => {
    read.add(name);
    const found = attributes[name];
    if (found?.kind === kind) return found.value as T;
    return fallback ?? refuse(`attribute ${name} is missing`);
  };
  const types = inference({
    operator,
    inputs,
    attributes,
    refuse,
    input(index, ...dtypes) {
      taken = Math.max(taken, index + 1);
      const tensor = inputs[index] ?? refuse(`input ${index} is missing`);
      if (dtypes.length > 0 && !dtypes.includes(tensor.dtype)) refuse(`input ${index} must be ${dtypes.join(' or ')}`);
      return tensor;
    },
    optional(index) {
      taken = Math.max(taken, index + 1);
      return inputs[index];
    },
    int: (name, fallback) => attribute('int', name, fallback),
    ints: (name, fallback) => attribute('ints', name, fallback),
    float: (name, fallback) => attribute('float', name, fallback),
    string: (name, fallback) => attribute('string', name, fallback),
  });
  if (inputs.length > taken) return refuse(`takes ${taken} inputs at most`);
  const unknown = Object.keys(attributes).find((name) => !read.has(name));
  return unknown === undefined ? types : refuse(`takes no attribute ${unknown}`);
}
