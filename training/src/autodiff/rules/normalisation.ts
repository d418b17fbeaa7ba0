import { div, exp, expandLike, mul, reduceMean, reduceSum, square, sub } from '../../onnx/ops.js';
import { elementCount, type Tensor } from '../../onnx/tensor.js';
import { fixedLength, intAttribute, positiveAxis, type Rules, sumOf, sumTo } from './rule.js';

export const NORMALISATION: Rules = {
  // dy_i / dx_j = y_i (1[i = j] - y_j)
  Softmax: ({ inputs: [x], output: y, node }, g) => [
    () => mul(y, sub(g, reduceSum(mul(g, y), [positiveAxis(intAttribute(node, 'axis', -1), x)], true))),
  ],
  // dy_i / dx_j = 1[i = j] - exp(y_j)
  LogSoftmax: ({ inputs: [x], output: y, node }, g) => [
    () => sub(g, mul(exp(y), reduceSum(g, [positiveAxis(intAttribute(node, 'axis', -1), x)], true))),
  ],
  // With m the mean, r the inverse standard deviation and n = (x - m) r: y = n * scale + bias.
  LayerNormalization: ({ inputs: [x, scale, bias], gradients: [ofY, ofMean, ofDeviation], node }) => {
    const [, mean, inverse] = node.outputs as [Tensor, Tensor, Tensor];
    const axis = positiveAxis(intAttribute(node, 'axis', -1), x);
    const axes = x.shape.flatMap((_, i) => (i < axis ? [] : [i]));
    const size = elementCount(axes.map((i) => fixedLength(x, i)));
    const normal = () => mul(sub(x, mean), inverse);
    return [
      () => {
        const n = normal();
        const terms = [];
        if (ofY !== undefined) {
          const h = mul(ofY, scale);
          const centred = sub(h, reduceMean(h, axes, true));
          terms.push(mul(inverse, sub(centred, mul(n, reduceMean(mul(h, n), axes, true)))));
        }
        // dm / dx = 1 / size, dr / dx = -r² n / size
        if (ofMean !== undefined) terms.push(expandLike(div(ofMean, size), x));
        if (ofDeviation !== undefined) terms.push(mul(mul(ofDeviation, square(inverse)), mul(n, -1 / size)));
        return sumOf(terms);
      },
      ofY && (() => sumTo(mul(ofY, normal()), scale)),
      ofY && (() => sumTo(ofY, bias)),
    ];
  },
};
