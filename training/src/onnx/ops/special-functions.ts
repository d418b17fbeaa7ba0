import type { Tensor } from '../tensor.js';
import {
  add,
  erf,
  less,
  log,
  mul,
  reciprocal,
  sigmoid,
  square,
  stopGradient,
  sub,
  tanh,
  where,
} from './elementwise.js';
import { reduceLogSumExp, reduceMax } from './reductions.js';
import { squeeze } from './shaping.js';

// Functions that opset 18 has no operator for, or none with a CUDA kernel, as compositions with gradients of their own.

/** x · sigmoid(x) (Hendrycks & Gimpel, 2016). */
export function silu(x: Tensor): Tensor {
  return mul(x, sigmoid(x));
}

/** x · Φ(x) with Φ the standard normal distribution (Hendrycks & Gimpel, 2016). */
export function gelu(x: Tensor): Tensor {
  return mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1));
}

/**
 * log Σ exp(x) over axes, of what is left of x without its largest element: ONNX Runtime's WebGPU kernel of ReduceLogSumExp
 * takes exponentials as they are, so that all of them are 0 where x is below -104, or infinite above 88.
 */
export function logSumExp(x: Tensor, axes: readonly number[]): Tensor {
  const largest = stopGradient(reduceMax(x, axes, true));
  return add(reduceLogSumExp(sub(x, largest), axes), squeeze(largest, axes));
}

/** The approximation of gelu by tanh, which differs by less than 5e-4. */
export function geluTanh(x: Tensor): Tensor {
  const inner = mul(mul(x, Math.sqrt(2 / Math.PI)), add(mul(square(x), 0.044715), 1));
  return mul(mul(x, 0.5), add(tanh(inner), 1));
}

/**
 * log Γ(x) for x > 0: Stirling's series, for x below 4 at x + 4 by the recurrence Γ(x + 4) = x (x+1) (x+2) (x+3) Γ(x)
 * (Abramowitz & Stegun, 6.1.15 and 6.1.41). Within 1e-6 of the larger of 1 and |log Γ(x)|; its gradient is digamma.
 */
export function logGamma(x: Tensor): Tensor {
  const { shifted, quadratic, isSmall } = shiftedArgument(x);
  const inverse = reciprocal(shifted);
  const series = mul(inverse, evenPolynomial(inverse, [1 / 12, -1 / 360, 1 / 1260]));
  const stirling = add(mul(sub(shifted, 0.5), log(shifted)), add(sub(series, shifted), 0.5 * Math.log(2 * Math.PI)));
  const steps = add(log(quadratic), log(add(quadratic, 2)));
  return where(isSmall, sub(stirling, steps), stirling);
}

/** d log Γ(x) / dx for x > 0, by the same recurrence (Abramowitz & Stegun, 6.3.6 and 6.3.18). */
export function digamma(x: Tensor): Tensor {
  const { small, shifted, quadratic, isSmall } = shiftedArgument(x);
  const inverse = reciprocal(shifted);
  const series = mul(square(inverse), evenPolynomial(inverse, [1 / 12, -1 / 120, 1 / 252]));
  const asymptotic = sub(sub(log(shifted), mul(inverse, 0.5)), series);
  const steps = mul(add(mul(small, 2), 3), add(reciprocal(quadratic), reciprocal(add(quadratic, 2))));
  return where(isSmall, sub(asymptotic, steps), asymptotic);
}

/** With q = x (x + 3) the product x (x+1) (x+2) (x+3) is q (q + 2). What is not used stays finite, and so its gradient. */
function shiftedArgument(x: Tensor): { small: Tensor; shifted: Tensor; quadratic: Tensor; isSmall: Tensor } {
  const isSmall = less(x, 4);
  const small = where(isSmall, x, 1);
  return { small, shifted: where(isSmall, add(x, 4), x), quadratic: mul(small, add(small, 3)), isSmall };
}

/** c₀ + c₁ x² + c₂ x⁴, by Horner's scheme. */
function evenPolynomial(x: Tensor, [c0, c1, c2]: readonly [number, number, number]): Tensor {
  const squared = square(x);
  return add(mul(squared, add(mul(squared, c2), c1)), c0);
}
