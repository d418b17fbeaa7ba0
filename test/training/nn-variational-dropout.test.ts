import { RandomSource } from '@elbo/models';
import { gradients } from '@elbo/training/autodiff/gradients';
import { convolution, transposedConvolution } from '@elbo/training/nn/feature-maps';
import { dense } from '@elbo/training/nn/layers';
import type { LayerMaker, LinearLayer } from '@elbo/training/nn/linear';
import { inputWeights, weightFeeds, withNoise } from '@elbo/training/nn/parameters';
import { dropoutLayers, gaussianDivergence, sparseDivergence } from '@elbo/training/nn/variational-dropout';
import { Graph } from '@elbo/training/onnx/graph';
import { elementCount, float32, type TensorData } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { engine, evaluate } from './support/harness.js';

/** −E log |ε| of a standard normal ε: makes the KL to the log-uniform prior end at 0. */
const CONSTANT = (0.5772156649015329 + Math.LN2) / 2;

/**
 * KL(N(θ, alpha θ²) ‖ log-uniform) = const − ½ log alpha + E log |1 + sqrt(alpha) ε| (Kingma et al., 2015, appendix C), by
 * the midpoint rule around the singularity at ε = −1 / sqrt(alpha), where the logarithm is integrable.
 */
function exactDivergence(alpha: number): number {
  const deviation = Math.sqrt(alpha);
  const singular = -1 / deviation;
  const steps = 400_000;
  let expectation = 0;
  for (const [from, to] of [
    [-12, Math.max(-12, singular)],
    [Math.max(-12, singular), 12],
  ]) {
    const width = (to - from) / steps;
    for (let i = 0; i < steps && width > 0; i++) {
      const t = from + (i + 0.5) * width;
      const density = Math.exp(-0.5 * t * t) / Math.sqrt(2 * Math.PI);
      expectation += density * Math.log(Math.abs(1 + deviation * t)) * width;
    }
  }
  return CONSTANT - 0.5 * Math.log(alpha) + expectation;
}

const single = (value: number) => float32([value], [1]);
const first = ({ data }: TensorData) => Number(data[0]);

describe('the KL of a weight to the log-uniform prior', () => {
  // The papers' own accuracy: Molchanov et al. (2017), figure 1.
  test.each([-7.5, -5, -3, -2, -1, 0, 1, 2, 3, 5, 7.5])(
    'log alpha %d: as Molchanov et al. approximate it',
    async (x) => {
      const [kl] = await evaluate([single(x)], (logAlpha) => [sparseDivergence(logAlpha)]);
      expect(Math.abs(first(kl) - exactDivergence(Math.exp(x)))).toBeLessThan(0.015);
    },
  );

  test.each([1e-4, 0.01, 0.1, 0.3, 0.6, 0.9, 1])('alpha %d: as Kingma et al. approximate it', async (x) => {
    const [kl] = await evaluate([single(x)], (alpha) => [gaussianDivergence(alpha)]);
    expect(Math.abs(first(kl) - exactDivergence(x))).toBeLessThan(0.06);
  });

  test('its gradient, which is written down, is the slope of its value', async () => {
    const points = Float64Array.from({ length: 31 }, (_, i) => -7.5 + i / 2);
    const [slopes] = await evaluate([float32(points, [31])], (logAlpha) =>
      gradients(sparseDivergence(logAlpha), [logAlpha]),
    );
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    // Equation 14 of the paper in float64.
    const formula = (x: number) => 0.63576 * (1 - sigmoid(1.8732 + 1.48695 * x)) + 0.5 * Math.log1p(Math.exp(-x));
    for (const [i, x] of points.entries()) {
      expect(Number(slopes.data[i])).toBeCloseTo((formula(x + 1e-4) - formula(x - 1e-4)) / 2e-4, 5);
    }
  });
});

const OPTIONS = { threshold: 3, log_variance: -3, alpha: 0.4 };
const KINDS = ['gaussian', 'sparse', 'group'] as const;
const geometry = { kernel: 3, stride: 2, padding: 1 };

/** Layers of every form, and the shape of what they take. */
const LAYERS: Readonly<Record<string, { build: (make: LayerMaker) => LinearLayer; input: readonly number[] }>> = {
  'a dense layer': { build: (make) => dense('layer', 3, 2, { make }), input: [3] },
  'a convolution': { build: (make) => convolution('layer', [2, 4, 4], 3, geometry, { make }), input: [2, 4, 4] },
  'a transposed convolution': {
    build: (make) => transposedConvolution('layer', 2, [1, 4, 4], geometry, { make }),
    input: [2, 2, 2],
  },
};
const cases = Object.entries(LAYERS).flatMap(([name, layer]) => KINDS.map((kind) => ({ name, kind, ...layer })));

/** Values of a layer: distinct means, variances and gates. */
function valuesOf(layer: LinearLayer, random: RandomSource): Map<string, Float32Array> {
  return new Map(
    layer.parameters.map(({ name, shape }) => {
      const size = elementCount(shape);
      if (name.endsWith('gate_mean')) return [name, Float32Array.from({ length: size }, (_, i) => 1 + 0.3 * i)];
      if (name.endsWith('log_variance'))
        return [name, Float32Array.from({ length: size }, (_, i) => -1 - 0.5 * (i % 4))];
      if (name.endsWith('alpha_logit')) return [name, Float32Array.from({ length: size }, (_, i) => -0.5 * i)];
      return [name, random.fillNormal(new Float32Array(size))];
    }),
  );
}

/** A weight drawn from the distribution that the papers give it. */
function drawnWeight(
  kind: (typeof KINDS)[number],
  values: ReadonlyMap<string, Float32Array>,
  inputOf: (i: number) => number,
  random: RandomSource,
): Float32Array {
  const of = (name: string) => values.get(`layer.${name}`) ?? new Float32Array();
  const mean = of('weight');
  const noise = random.fillNormal(new Float32Array(mean.length));
  const gateNoise = random.fillNormal(new Float32Array(of('gate_mean').length));
  const gates = of('gate_mean').map((m, i) => m + Math.exp(of('gate_log_variance')[i] / 2) * gateNoise[i]);
  const deviation = (i: number) => Math.exp(of('log_variance')[i] / 2);
  const alpha = (i: number) => 1 / (1 + Math.exp(-of('alpha_logit')[inputOf(i)]));
  const drawn = {
    gaussian: (m: number, i: number) => m * (1 + Math.sqrt(alpha(i)) * noise[i]),
    sparse: (m: number, i: number) => m + deviation(i) * noise[i],
    group: (m: number, i: number) => gates[inputOf(i)] * (m + deviation(i) * noise[i]),
  };
  return mean.map(drawn[kind]);
}

const DRAWS = 4000;

describe.each(cases)('$kind dropout in $name', ({ kind, build, input }) => {
  const layer = build(dropoutLayers({ kind, ...OPTIONS }));
  const plain = build(dropoutLayers({ kind: 'none', ...OPTIONS }));
  const random = new RandomSource(7);
  const values = valuesOf(layer, random);
  const size = elementCount(input);
  const row = random.fillNormal(new Float32Array(size));
  const [weight] = layer.parameters;
  // Dense weights are [in, out], kernels [height, width, in, out] or, transposed, [height, width, out, in].
  const axis = weight.shape.length === 2 ? 0 : input[0] === weight.shape[2] ? 2 : 3;
  const inner = weight.shape.slice(axis + 1).reduce((product, length) => product * length, 1);
  const inputOf = (i: number) => Math.floor(i / inner) % weight.shape[axis];

  /** Rows of the layer's outputs, in the form that stands in files. */
  async function outputs(
    of: LinearLayer,
    rows: number,
    weights: ReadonlyMap<string, Float32Array>,
    noise?: RandomSource,
  ) {
    const graph = new Graph('layer');
    const x = graph.input('x', 'float32', [rows, ...input]);
    const noises = Object.entries(noise === undefined ? {} : (of.noise ?? {}));
    const tensors = noises.map(([name, shape]) => [name, graph.input(name, 'float32', [rows, ...shape])] as const);
    const bound = inputWeights(graph, of.parameters);
    const y = of.apply(x, noise === undefined ? bound : withNoise(bound, Object.fromEntries(tensors)));
    graph.output(y, 'y');
    const program = await engine.compile(graph);
    const repeated = new Float32Array(rows * size);
    for (let i = 0; i < rows; i++) repeated.set(row, i * size);
    const feeds = noises.map(([name, shape]) => {
      const full = [rows, ...shape];
      const values = new Float32Array(elementCount(full));
      return [name, float32(noise?.fillNormal(values) ?? values, full)] as const;
    });
    const result = await program.run({
      x: float32(repeated, [rows, ...input]),
      ...weightFeeds(of.parameters, weights),
      ...Object.fromEntries(feeds),
    });
    await program.release();
    const { data, shape } = result.y;
    const width = data.length / shape[0];
    return Array.from({ length: rows }, (_, i) =>
      Array.from((data as Float32Array).subarray(i * width, (i + 1) * width)),
    );
  }

  test('draws outputs with the mean and the variance of those of drawn weights', async () => {
    const drawn = await outputs(layer, DRAWS, values, new RandomSource(1));
    const expected: number[][] = [];
    const source = new RandomSource(2);
    // Independent of the layer: the plain layer with a weight drawn anew each time.
    const graph = new Graph('plain');
    const x = graph.input('x', 'float32', [1, ...input]);
    graph.output(plain.apply(x, inputWeights(graph, plain.parameters)), 'y');
    const program = await engine.compile(graph);
    for (let i = 0; i < DRAWS; i++) {
      const weights = new Map([...values, ['layer.weight', drawnWeight(kind, values, inputOf, source)] as const]);
      const { y } = await program.run({ x: float32(row, [1, ...input]), ...weightFeeds(plain.parameters, weights) });
      expected.push(Array.from(y.data as Float32Array));
    }
    await program.release();
    for (const [j] of expected[0].entries()) {
      const [ours, theirs] = [drawn, expected].map((rows) => momentsOf(rows.map((values) => values[j])));
      const deviation = Math.sqrt(theirs.variance);
      // Five standard errors of a mean, and of a variance whose draws may have heavy tails.
      expect(Math.abs(ours.mean - theirs.mean)).toBeLessThan((5 * Math.SQRT2 * deviation) / Math.sqrt(DRAWS));
      const spread = Math.sqrt((ours.fourth + theirs.fourth) / DRAWS);
      expect(Math.abs(ours.variance - theirs.variance)).toBeLessThan(5 * spread);
    }
  });

  test('without noise is the plain layer with mean weights, of which those beyond the threshold are 0', async () => {
    // One weight, or one gate, is drowned in noise.
    const pruned = new Map(values);
    const [prunedName, ofMean] = kind === 'group' ? ['gate_log_variance', 'gate_mean'] : ['log_variance', 'weight'];
    const logVariance = pruned.get(`layer.${prunedName}`)?.slice();
    const means = pruned.get(`layer.${ofMean}`) ?? new Float32Array();
    if (logVariance !== undefined) {
      logVariance[0] = Math.log(means[0] ** 2) + 3.1;
      logVariance[1] = Math.log(means[1] ** 2) + 2.9;
      for (let i = 2; i < logVariance.length; i++) logVariance[i] = -12;
      pruned.set(`layer.${prunedName}`, logVariance);
    }
    const weights = (values.get('layer.weight') ?? new Float32Array()).map((mean, i) => {
      if (kind === 'gaussian') return mean;
      if (kind === 'sparse') return i === 0 ? 0 : mean;
      return inputOf(i) === 0 ? 0 : mean * means[inputOf(i)];
    });
    const [expected] = await outputs(plain, 1, new Map([...values, ['layer.weight', weights] as const]));
    const [actual] = await outputs(layer, 1, pruned);
    for (const [j, value] of expected.entries()) expect(actual[j]).toBeCloseTo(value, 5);
  });

  test('has the KL of its weights, summed', async () => {
    const of = (name: string) => values.get(`layer.${name}`) ?? new Float32Array();
    const logUniform = (mean: number, logVariance: number) =>
      exactDivergence(Math.min(Math.exp(8), Math.exp(logVariance) / (mean * mean + 1e-8)));
    const sum = (array: Float32Array, f: (value: number, i: number) => number) =>
      array.reduce((total, value, i) => total + f(value, i), 0);
    const expected = {
      gaussian: () => sum(of('weight'), (_, i) => exactDivergence(1 / (1 + Math.exp(-of('alpha_logit')[inputOf(i)])))),
      sparse: () => sum(of('weight'), (mean, i) => logUniform(mean, of('log_variance')[i])),
      group: () =>
        sum(of('gate_mean'), (mean, i) => logUniform(mean, of('gate_log_variance')[i])) +
        sum(of('weight'), (mean, i) => {
          const logVariance = of('log_variance')[i];
          return 0.5 * (mean * mean + Math.exp(logVariance) - 1 - logVariance);
        }),
    }[kind]();
    const graph = new Graph('kl');
    const kl = layer.divergence?.(inputWeights(graph, layer.parameters));
    if (kl === undefined) throw new Error('the layer has no KL');
    graph.output(kl, 'kl');
    const program = await engine.compile(graph);
    const result = await program.run(weightFeeds(layer.parameters, values));
    await program.release();
    // What the approximations are off by, for each of them.
    const tolerance = (kind === 'group' ? of('gate_mean') : of('weight')).length * (kind === 'gaussian' ? 0.06 : 0.015);
    expect(Math.abs(first(result.kl) - expected)).toBeLessThan(tolerance + 1e-4);
  });
});

function momentsOf(values: readonly number[]): { mean: number; variance: number; fourth: number } {
  const average = (f: (value: number) => number) => values.reduce((sum, value) => sum + f(value), 0) / values.length;
  const mean = average((value) => value);
  return {
    mean,
    variance: average((value) => (value - mean) ** 2),
    fourth: average((value) => (value - mean) ** 4),
  };
}
