// Elbo keeps kernels as [height, width, a, b]; files between contenders hold them as ONNX and most libraries do, [b, a,
// height, width]. Parameters of other ranks are the same in both.

export function toOnnxOrder(values: Float32Array, shape: readonly number[]): Float32Array {
  return moved(values, shape, (at, ours) => ({ from: ours, to: at }));
}

/** @param shape as Elbo has it */
export function fromOnnxOrder(values: Float32Array, shape: readonly number[]): Float32Array {
  return moved(values, shape, (at, ours) => ({ from: at, to: ours }));
}

function moved(
  values: Float32Array,
  shape: readonly number[],
  direction: (onnx: number, ours: number) => { readonly from: number; readonly to: number },
): Float32Array {
  if (shape.length !== 4) return values;
  const [height, width, a, b] = shape;
  const area = height * width;
  const result = new Float32Array(values.length);
  for (let ours = 0; ours < values.length; ours++) {
    const [pixel, channels] = [Math.floor(ours / (a * b)), ours % (a * b)];
    const { from, to } = direction(((channels % b) * a + Math.floor(channels / b)) * area + pixel, ours);
    result[to] = values[from];
  }
  return result;
}
