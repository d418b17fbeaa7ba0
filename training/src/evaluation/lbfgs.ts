/** A smooth function at a point: its value, and its gradient as a new array. */
export type SmoothFunction = (point: Float64Array) => { readonly value: number; readonly gradient: Float64Array };

/** Steps whose curvature is remembered (Nocedal & Wright, 2006, section 7.2, advise 3 to 20). */
const MEMORY = 10;
/** Of the slope along a step, that the value must fall by (Nocedal & Wright, 2006, eq. 3.6a). */
const SUFFICIENT_DECREASE = 1e-4;
const MOST_HALVINGS = 40;

/**
 * Minimises a smooth convex function by L-BFGS with a backtracking line search (Nocedal & Wright, 2006, algorithms 7.4
 * and 7.5).
 * @param start the point to begin at, which is left as it is
 * @param options.tolerance the largest entry of the gradient that counts as 0
 * @returns the minimiser, or the best point after `iterations` steps
 */
export function minimise(
  f: SmoothFunction,
  start: Float64Array,
  { iterations = 500, tolerance = 1e-6 } = {},
): Float64Array {
  let point: Float64Array = start;
  let { value, gradient } = f(point);
  const steps: Step[] = [];
  for (let iteration = 0; iteration < iterations; iteration++) {
    if (gradient.every((slope) => Math.abs(slope) <= tolerance)) break;
    const direction = descent(gradient, steps);
    const slope = dot(direction, gradient);
    // Nothing is known of the curvature at first: a step of unit length at most.
    let length = steps.length === 0 ? Math.min(1, 1 / Math.sqrt(-slope)) : 1;
    let next = moved(point, direction, length);
    let there = f(next);
    // Written so that a value that is not a number is no decrease.
    for (let i = 0; i < MOST_HALVINGS && !(there.value <= value + SUFFICIENT_DECREASE * length * slope); i++) {
      length /= 2;
      next = moved(point, direction, length);
      there = f(next);
    }
    if (!(there.value < value)) break;
    const change = there.gradient.map((entry, i) => entry - gradient[i]);
    const step = next.map((entry, i) => entry - point[i]);
    const curvature = dot(step, change);
    // A step along which the slope does not rise would make the next direction one of ascent.
    if (curvature > 1e-12 * dot(change, change)) steps.push({ step, change, curvature });
    if (steps.length > MEMORY) steps.shift();
    point = next;
    ({ value, gradient } = there);
  }
  return point;
}

interface Step {
  readonly step: Float64Array;
  /** Of the gradient. */
  readonly change: Float64Array;
  readonly curvature: number;
}

/** −H · gradient, H being the inverse Hessian that the steps suggest (two-loop recursion). */
function descent(gradient: Float64Array, steps: readonly Step[]): Float64Array {
  let result: Float64Array = gradient.map((entry) => -entry);
  const weights: number[] = [];
  for (const { step, change, curvature } of steps.toReversed()) {
    const weight = dot(step, result) / curvature;
    weights.push(weight);
    result = moved(result, change, -weight);
  }
  const last = steps.at(-1);
  if (last !== undefined) {
    const scale = last.curvature / dot(last.change, last.change);
    result = result.map((entry) => entry * scale);
  }
  for (const { step, change, curvature } of steps) {
    const weight = weights.pop() ?? 0;
    result = moved(result, step, weight - dot(change, result) / curvature);
  }
  return result;
}

function moved(point: Float64Array, direction: Float64Array, length: number): Float64Array {
  return point.map((entry, i) => entry + length * direction[i]);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
