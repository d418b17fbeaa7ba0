import type { TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';

/** The output of a function of tensors and the gradients of Σ weights · output, computed by tfjs alone. */
export function tfjsGradients(
  f: (...x: tf.Tensor[]) => tf.Tensor,
  inputs: readonly TensorData[],
  weights: TensorData,
): { output: Float32Array; gradients: Float32Array[] } {
  const toTensor = ({ data, shape }: TensorData) => tf.tensor(data as Float32Array, [...shape], 'float32');
  return tf.tidy(() => {
    const x = inputs.map(toTensor);
    const w = toTensor(weights);
    const loss = (...args: tf.Tensor[]) => tf.sum(tf.mul(f(...args), w));
    return {
      output: f(...x).dataSync<'float32'>(),
      gradients: tf
        .grads(loss)(x)
        .map((gradient) => gradient.dataSync<'float32'>()),
    };
  });
}
