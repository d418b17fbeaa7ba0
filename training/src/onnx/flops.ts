import { graphFromModel } from './graph-from-model.js';
import type { Shape, Tensor } from './tensor.js';

/**
 * Floating-point operations that an `.onnx` file's matrix products and convolutions take for one example, a multiply-add
 * being two; what else there is in a network of dense layers and convolutions is small beside them.
 * @throws {GraphError} where Elbo cannot read the file
 */
export function flopsOf(bytes: Uint8Array): number {
  let multiplyAdds = 0;
  for (const { operator, inputs, outputs } of graphFromModel(bytes).nodes) {
    const [x, weight] = inputs;
    if (x === undefined || weight === undefined) continue;
    if (operator === 'Gemm' || operator === 'MatMul') multiplyAdds += sizeOf(weight.shape);
    // A weight meets every place of the result, and of the input of a transposed convolution.
    if (operator === 'Conv') multiplyAdds += sizeOf(weight.shape) * places(outputs[0]);
    if (operator === 'ConvTranspose') multiplyAdds += sizeOf(weight.shape) * places(x);
  }
  return 2 * multiplyAdds;
}

const places = ({ shape }: Tensor): number => sizeOf(shape.slice(2));

const sizeOf = (shape: Shape): number => shape.reduce<number>((size, length) => size * Number(length), 1);
