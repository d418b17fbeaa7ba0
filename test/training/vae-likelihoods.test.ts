import { type Column, RandomSource } from '@elbo/models';
import { gradients } from '@elbo/training/autodiff/gradients';
import { inputWeights, weightFeeds } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { reduceSum } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { type LikelihoodData, type LikelihoodName, likelihoodFor } from '@elbo/training/vae/likelihoods';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engine, expectClose, numbersOf } from './support/harness.js';

// Every likelihood beside its definition in double precision, written from the formulas alone.

type Rows = readonly (readonly number[])[];

interface Computed {
  readonly nats: number[];
  readonly mean: number[][];
  readonly deviance: number[][];
  readonly presented: number[][];
  /** Of Σ nats: by the decoder's output, then by each trainable parameter. */
  readonly gradients: number[][];
}

/** What a likelihood makes of examples and a decoder's outputs; the parameters given replace initial ones. */
async function compute(
  name: LikelihoodName,
  data: LikelihoodData,
  x: Rows,
  decoded: Rows,
  given: Readonly<Record<string, readonly number[]>> = {},
): Promise<Computed> {
  const likelihood = likelihoodFor(name, data);
  const { parameters } = likelihood;
  const random = new RandomSource(1);
  const values = new Map(
    parameters.map((parameter) => [
      parameter.name,
      Float32Array.from(given[parameter.name] ?? parameter.initialise(random)),
    ]),
  );
  const graph = new Graph('likelihood');
  const weights = inputWeights(graph, parameters);
  const rows = graph.input('rows', 'float32', [x.length, x[0].length]);
  const output = graph.input('decoded', 'float32', [x.length, decoded[0].length]);
  const nats = likelihood.negativeLogLikelihood(rows, output, weights);
  const trained = parameters.filter(({ trainable }) => trainable).map(weights);
  const results = [
    nats,
    likelihood.mean(output, weights),
    likelihood.deviance(rows, output, weights),
    likelihood.present(rows, weights),
    ...gradients(reduceSum(nats), [output, ...trained]),
  ];
  for (const [i, result] of results.entries()) graph.output(result, `y${i}`);
  const program = await engine.compile(graph);
  const outputs = await program.run({
    rows: float32(x.flat(), [x.length, x[0].length]),
    decoded: float32(decoded.flat(), [decoded.length, decoded[0].length]),
    ...weightFeeds(parameters, values),
  });
  await program.release();
  const numbers = results.map((_, i) => numbersOf(outputs[`y${i}`]));
  const byRow = (flat: number[]) =>
    x.map((_, i) => flat.slice((i * flat.length) / x.length, ((i + 1) * flat.length) / x.length));
  return {
    nats: numbers[0],
    mean: byRow(numbers[1]),
    deviance: byRow(numbers[2]),
    presented: byRow(numbers[3]),
    gradients: numbers.slice(4),
  };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const softmax = (logits: readonly number[]) => {
  const largest = Math.max(...logits);
  const parts = logits.map((logit) => Math.exp(logit - largest));
  return parts.map((part) => part / sum(parts));
};
/** Derivatives of a function of several numbers, by the fourth-order formula. */
const derivatives = (f: (values: readonly number[]) => number, values: readonly number[]) =>
  values.map((value, i) => {
    const h = 1e-3;
    const at = (offset: number) => f(values.with(i, value + offset));
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  });

describe('discretised-logistic', () => {
  const pixels: LikelihoodData = { shape: [1, 1, 2], dtype: 'uint8' };
  const bytes = Array.from({ length: 256 }, (_, byte) => byte / 255);

  /** Probability of a byte's bin; the bins of 0 and 255 have no end. */
  const probability = (byte: number, location: number, logScale: number) => {
    const scale = Math.exp(logScale);
    const below = (bound: number) => sigmoid((bound / 255 - location) / scale);
    const upper = byte === 255 ? 1 : below(byte + 0.5);
    return upper - (byte === 0 ? 0 : below(byte - 0.5));
  };

  // Of each pair of pixels, the second takes the bytes in the opposite order, with another location.
  const cases = [
    [0.5, -2],
    [0.1, -4],
    [-0.3, -1.5],
    [1.2, -3],
    [0.731, -6],
    [0.4, 1],
    [0, 0.5],
  ] as const;

  test.each(cases)('location %f, log scale %f: the bytes have the probabilities of their bins', async (m, s) => {
    const x = bytes.map((byte) => [byte, 1 - byte]);
    const decoded = x.map(() => [m, 0.5, s, -1]);
    const { nats, mean } = await compute('discretised-logistic', pixels, x, decoded);
    const other = bytes.map((_, byte) => probability(255 - byte, 0.5, -1));
    const direct = bytes.map((_, byte) => probability(byte, m, s));
    const found = nats.map((value, byte) => Math.exp(-value) / other[byte]);
    expect(sum(found)).toBeCloseTo(1, 4);
    expectClose(found, direct, 1e-6, 'probabilities');
    // Relative, too, where the difference of sigmoids still has digits.
    for (const [byte, p] of direct.entries()) {
      if (p > 1e-10) expect(Math.abs(found[byte] / p - 1), `byte ${byte}`).toBeLessThan(2e-4);
    }
    const expected = sum(direct.map((p, byte) => (p * byte) / 255));
    expect(Math.abs(mean[0][0] - expected)).toBeLessThan(0.5 / 255);
  });

  test('stays finite, with gradients, for locations far away and scales beyond their bounds', async () => {
    const x = [0, 0.5, 1].flatMap((a) => [0, 1].map((b) => [a, b]));
    for (const [m, s] of [
      [30, -20],
      [-30, -20],
      [1e4, 30],
      [0.5, -20],
    ]) {
      const decoded = x.map(() => [m, m, s, s]);
      const { nats, mean, deviance, gradients: found } = await compute('discretised-logistic', pixels, x, decoded);
      for (const value of [nats, mean, deviance, ...found].flat(2)) expect(value).toSatisfy(Number.isFinite);
    }
  });

  test('deviance is never negative, and 0 at the byte itself', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(255), fc.float({ min: -1, max: 2, noNaN: true })), { minLength: 2, maxLength: 9 }),
        fc.float({ min: -7, max: 1, noNaN: true }),
        async (pairs, s) => {
          const x = pairs.map(([byte]) => [byte / 255, byte / 255]);
          const decoded = pairs.map(([byte, m]) => [byte / 255, m, s, s]);
          const { deviance } = await compute('discretised-logistic', pixels, x, decoded);
          for (const [perfect, other] of deviance) {
            expect(perfect).toBe(0);
            expect(other).toBeGreaterThanOrEqual(0);
          }
        },
      ),
      { numRuns: 30 },
    );
    const { deviance } = await compute('discretised-logistic', pixels, [[0.2, 0.2]], [[0.6, 0.25, -3, -3]]);
    expect(deviance[0][0]).toBeGreaterThan(10 * deviance[0][1]);
  });

  test('gradients are the derivatives', async () => {
    const x = [0, 17, 200, 255].map((byte) => [byte / 255, (255 - byte) / 255]);
    const decoded = x.map((_, i) => [0.2 + 0.1 * i, 0.7 - 0.2 * i, -1 - 0.4 * i, -2]);
    const { gradients: found } = await compute('discretised-logistic', pixels, x, decoded);
    const direct = x.flatMap((row, i) =>
      derivatives(
        (d) => -sum(row.map((byte, j) => Math.log(probability(Math.round(255 * byte), d[j], d[2 + j])))),
        decoded[i],
      ),
    );
    expectClose(found[0], direct, 1e-3, 'by the decoder');
  });
});

describe('negative-binomial', () => {
  const genes: LikelihoodData = { shape: [3] };
  const logFactorial = (n: number) => sum(Array.from({ length: n }, (_, i) => Math.log(i + 1)));
  /** Γ(x + θ) / Γ(θ) is θ (θ + 1) … (θ + x − 1) for whole x. */
  const logProbability = (x: number, mu: number, theta: number) =>
    sum(Array.from({ length: x }, (_, i) => Math.log(theta + i))) -
    logFactorial(x) +
    theta * Math.log(theta / (theta + mu)) +
    x * Math.log(mu / (theta + mu));

  test('the definition that the graph is held against sums to 1, with mean μ and variance μ + μ² / θ', () => {
    for (const [mu, theta] of [
      [0.3, 0.5],
      [4, 2],
      [20, 50],
    ]) {
      const probabilities = Array.from({ length: 400 }, (_, x) => Math.exp(logProbability(x, mu, theta)));
      const moment = (power: number) => sum(probabilities.map((p, x) => p * x ** power));
      expect(moment(0)).toBeCloseTo(1, 8);
      expect(moment(1)).toBeCloseTo(mu, 6);
      expect(moment(2) - mu ** 2).toBeCloseTo(mu + mu ** 2 / theta, 4);
    }
  });

  const x = [
    [0, 3, 7],
    [1, 0, 0],
    [250, 4, 96],
    [0, 0, 0],
  ];
  const logits = [
    [0.5, -1, 2],
    [-3, 0.1, 0.4],
    [1, 1, 1],
    [0, 0.2, -0.2],
  ];
  const logThetas = [-2, 0.5, 3];
  const parameters = {
    'decoder.log_dispersion': logThetas,
    'decoder.total': [120],
    'input.mean': [1, 0.5, 0],
    'input.scale': [2, 0.25, 1],
  };
  const means = (row: readonly number[], l: readonly number[]) => softmax(l).map((rho) => Math.max(1, sum(row)) * rho);
  const natsOf = (row: readonly number[], l: readonly number[], thetas: readonly number[]) =>
    -sum(means(row, l).map((mu, j) => logProbability(row[j], mu, Math.exp(thetas[j]))));

  test('nats, mean, deviance and what the encoder sees are those of the formulas', async () => {
    const found = await compute('negative-binomial', genes, x, logits, parameters);
    expectClose(
      found.nats,
      x.map((row, i) => natsOf(row, logits[i], logThetas)),
      1e-5,
      'nats',
    );
    expectClose(
      found.mean.flat(),
      logits.flatMap((l) => softmax(l).map((rho) => 120 * rho)),
      1e-5,
      'mean',
    );
    const deviances = x.flatMap((row, i) =>
      means(row, logits[i]).map((mu, j) => {
        const theta = Math.exp(logThetas[j]);
        const saturated = row[j] === 0 ? 0 : logProbability(row[j], row[j], theta);
        return saturated - logProbability(row[j], mu, theta);
      }),
    );
    expectClose(found.deviance.flat(), deviances, 1e-4, 'deviance');
    const { 'input.mean': shift, 'input.scale': scale } = parameters;
    const presented = x.flatMap((row) => row.map((count, j) => (Math.log1p(count) - shift[j]) / scale[j]));
    expectClose(found.presented.flat(), presented, 1e-5, 'presented');
  });

  test('deviance is 0 where the proportions are those of the example', async () => {
    const row = [30, 6, 84];
    const { deviance } = await compute('negative-binomial', genes, [row], [row.map(Math.log)], parameters);
    for (const value of deviance[0]) expect(value).toBeLessThan(1e-4);
  });

  test('gradients are the derivatives, by the proportions and by the dispersions', async () => {
    const { gradients: found } = await compute('negative-binomial', genes, x, logits, parameters);
    const byLogits = x.flatMap((row, i) => derivatives((l) => natsOf(row, l, logThetas), logits[i]));
    expectClose(found[0], byLogits, 1e-3, 'by the decoder');
    const byThetas = derivatives((thetas) => sum(x.map((row, i) => natsOf(row, logits[i], thetas))), logThetas);
    expectClose(found[1], byThetas, 1e-3, 'by the dispersions');
  });

  test('stays finite for proportions of 0, counts of millions and dispersions beyond their bounds', async () => {
    const rows = [
      [16_777_216, 0, 1],
      [0, 0, 40],
    ];
    for (const dispersion of [-40, 40]) {
      const found = await compute(
        'negative-binomial',
        genes,
        rows,
        [
          [0, 90, -90],
          [-120, 0, 120],
        ],
        {
          'decoder.log_dispersion': [dispersion, dispersion, dispersion],
        },
      );
      for (const value of [found.nats, found.mean, found.deviance, ...found.gradients].flat(2)) {
        expect(value).toSatisfy(Number.isFinite);
      }
    }
  });
});

const category = (name: string, count: number): Column => ({
  name,
  kind: 'categorical',
  categories: Array.from({ length: count }, (_, i) => `${name}${i}`),
});
const numeric = (name: string): Column => ({ name, kind: 'numeric' });

describe('categorical', () => {
  test('the codes of a column have the probabilities of a softmax, and the mean is the most probable code', async () => {
    const logits = [0.5, -2, 1.5, 0];
    const x = logits.map((_, code) => [code]);
    const found = await compute(
      'categorical',
      { shape: [1], columns: [category('a', 4)] },
      x,
      x.map(() => logits),
    );
    const probabilities = found.nats.map((nats) => Math.exp(-nats));
    expect(sum(probabilities)).toBeCloseTo(1, 6);
    expectClose(probabilities, softmax(logits), 1e-5, 'probabilities');
    expect(found.mean.flat()).toEqual([2, 2, 2, 2]);
    expectClose(found.deviance.flat(), found.nats, 1e-6, 'deviance');
    expect(found.presented).toEqual(x.map(([code]) => logits.map((_, i) => Number(i === code))));
  });

  test('a category that is sure costs nothing, and numbers that are no code count as the next one', async () => {
    const data: LikelihoodData = { shape: [2], columns: [category('a', 2), category('b', 2)] };
    const found = await compute(
      'categorical',
      data,
      [
        [1, 0],
        [9, -3],
      ],
      [
        [-80, 80, 80, -80],
        [-1, 1, 1, -1],
      ],
    );
    expect(found.nats[0]).toBe(0);
    expect(found.deviance[0]).toEqual([0, 0]);
    expect(found.presented[1]).toEqual([0, 1, 1, 0]);
  });
});

describe('mixed', () => {
  // Columns of a kind do not lie side by side, and come back in their places.
  const columns = [category('a', 3), numeric('n'), category('b', 2), numeric('m'), category('c', 3)];
  const data: LikelihoodData = { shape: [5], columns };
  const x = [
    [2, 150, 0, -0.5, 1],
    [0, 90, 1, 0.25, 2],
  ];
  // Numbers n and m, the categories of b, then those of a and of c.
  const decoded = [
    [0.5, -1, 0.3, 0.1, 1, 2, 3, -1, 0, 1],
    [-0.2, 0.4, -1, 2, 0.5, -0.5, 0, 0.2, 0.1, -2],
  ];
  const logScale = -0.7;
  const parameters = { 'input.mean': [100, 0], 'input.scale': [40, 0.5], 'decoder.log_scale': [logScale] };
  const normal = (value: number, mean: number, deviation: number) =>
    Math.exp(-0.5 * ((value - mean) / deviation) ** 2) / (deviation * Math.sqrt(2 * Math.PI));
  const densities = ([a, n, b, m, c]: readonly number[], d: readonly number[], s: number) => [
    softmax(d.slice(4, 7))[a],
    normal(n, 100 + 40 * d[0], 40 * Math.exp(s)),
    softmax(d.slice(2, 4))[b],
    normal(m, 0.5 * d[1], 0.5 * Math.exp(s)),
    softmax(d.slice(7, 10))[c],
  ];
  const natsOf = (row: readonly number[], d: readonly number[], s: number) => -sum(densities(row, d, s).map(Math.log));

  test('nats, mean, deviance and what the encoder sees are those of each column', async () => {
    const found = await compute('mixed', data, x, decoded, parameters);
    expectClose(
      found.nats,
      x.map((row, i) => natsOf(row, decoded[i], logScale)),
      1e-5,
      'nats',
    );
    expectClose(found.mean.flat(), [2, 120, 0, -0.5, 2, 0, 92, 1, 0.2, 0], 1e-5, 'mean');
    expectClose(
      found.deviance.flat(),
      x.flatMap((row, i) => {
        const [a, , b, , c] = densities(row, decoded[i], logScale).map((density) => -Math.log(density));
        const [n, m] = [1, 3].map((column, j) => {
          const standardised = (row[column] - [100, 0][j]) / [40, 0.5][j];
          return 0.5 * ((standardised - decoded[i][j]) / Math.exp(logScale)) ** 2;
        });
        return [a, n, b, m, c];
      }),
      1e-5,
      'deviance',
    );
    expectClose(
      found.presented.flat(),
      [
        [1.25, -1, 1, 0, 0, 0, 1, 0, 1, 0],
        [-0.25, 0.5, 0, 1, 1, 0, 0, 0, 0, 1],
      ].flat(),
      1e-6,
      'presented',
    );
  });

  test('gradients are the derivatives, by the decoder and by the deviation', async () => {
    const { gradients: found } = await compute('mixed', data, x, decoded, parameters);
    const byDecoder = x.flatMap((row, i) => derivatives((d) => natsOf(row, d, logScale), decoded[i]));
    expectClose(found[0], byDecoder, 1e-3, 'by the decoder');
    const byScale = derivatives(([s]) => sum(x.map((row, i) => natsOf(row, decoded[i], s))), [logScale]);
    expectClose(found[1], byScale, 1e-3, 'by the deviation');
  });

  describe('values that are missing', () => {
    const none = Number.NaN;
    const withMissing: LikelihoodData = {
      shape: [4],
      columns: [
        { ...category('a', 2), missing: true },
        { ...numeric('n'), missing: true },
        category('b', 2),
        numeric('m'),
      ],
    };
    const rows = [
      [none, 150, 0, -0.5],
      [1, none, 1, 0.25],
    ];
    // The numbers n and m, whether n is missing, the categories of b, those of a, and whether a is missing.
    const outputs = [
      [0.5, -1, 0.8, 0.3, 0.1, -1, 2, 3],
      [-0.2, 0.4, -1.5, -1, 2, 0.5, -0.5, 9],
    ];
    /** Of row 0, where a is missing, and of row 1, where n is. */
    const densitiesOf = (d: readonly number[], row: number, s: number) => [
      softmax(d.slice(5, 8))[row === 0 ? 2 : 1],
      row === 0 ? (1 - sigmoid(d[2])) * normal(150, 100 + 40 * d[0], 40 * Math.exp(s)) : sigmoid(d[2]),
      softmax(d.slice(3, 5))[row],
      normal(rows[row][3], 0.5 * d[1], 0.5 * Math.exp(s)),
    ];
    const nats = (d: readonly number[], row: number, s: number) => -sum(densitiesOf(d, row, s).map(Math.log));

    test('cost what it says of them that they are missing, and nothing else', async () => {
      const found = await compute('mixed', withMissing, rows, outputs, parameters);
      const expected = outputs.map((d, row) => nats(d, row, logScale));
      expectClose(found.nats, expected, 1e-5, 'nats');
      const byDecoder = outputs.flatMap((d, row) => derivatives((own) => nats(own, row, logScale), d));
      expectClose(found.gradients[0], byDecoder, 1e-3, 'gradient by the decoder');
      const byScale = derivatives(([s]) => sum(outputs.map((d, row) => nats(d, row, s))), [logScale]);
      expectClose(found.gradients[1], byScale, 1e-3, 'gradient by the deviation');
    });

    test('have an expected value all the same, and a deviance of being missing', async () => {
      const found = await compute('mixed', withMissing, rows, outputs, parameters);
      expectClose(found.mean.flat(), [1, 120, 0, -0.5, 0, 92, 1, 0.2], 1e-5, 'mean');
      const costs = outputs.map((d, row) => densitiesOf(d, row, logScale).map((density) => -Math.log(density)));
      const squares = [150 - 100 - 40 * 0.5, 0].map((error) => 0.5 * (error / 40 / Math.exp(logScale)) ** 2);
      expectClose([found.deviance[0][0]], [costs[0][0]], 1e-5, 'a missing category');
      expectClose([found.deviance[1][1]], [costs[1][1]], 1e-5, 'a missing number');
      expectClose([found.deviance[0][1]], [squares[0] - Math.log(1 - sigmoid(0.8))], 1e-5, 'a number that is there');
      expectClose(
        found.presented.flat(),
        [
          [1.25, -1, 0, 1, 0, 0, 0, 1],
          [0, 0.5, 1, 0, 1, 0, 1, 0],
        ].flat(),
        1e-6,
        'presented',
      );
    });
  });

  test('of numbers alone, it is the Gaussian likelihood, with the same parameters', async () => {
    const rows = x.map(([, n, , m]) => [n, m]);
    const outputs = decoded.map((row) => row.slice(0, 2));
    const [ofMixed, ofGaussian] = await Promise.all(
      (['mixed', 'gaussian'] as const).map((name) => compute(name, { shape: [2] }, rows, outputs, parameters)),
    );
    expect(ofMixed).toEqual(ofGaussian);
  });
});

describe('a likelihood that does not suit the data is refused with those that do', () => {
  const bytes: LikelihoodData = { shape: [1, 2, 2], dtype: 'uint8' };
  const numbers: LikelihoodData = { shape: [1, 2, 2], dtype: 'float32' };
  const rows: LikelihoodData = { shape: [2], dtype: 'float32' };
  const mixedColumns: LikelihoodData = { ...rows, columns: [numeric('n'), category('colour', 3)] };
  const codes: LikelihoodData = { ...rows, columns: [category('a', 2), category('b', 2)] };

  test.each([
    ['discretised-logistic', numbers, 'expected bernoulli or gaussian for images of numbers'],
    ['discretised-logistic', rows, 'expected gaussian or negative-binomial or mixed for rows of numbers'],
    ['bernoulli', rows, 'expected gaussian or negative-binomial or mixed for rows of numbers'],
    ['negative-binomial', bytes, 'expected bernoulli or gaussian or discretised-logistic for images of bytes'],
    ['mixed', bytes, 'expected bernoulli or gaussian or discretised-logistic for images of bytes'],
    ['gaussian', mixedColumns, 'expected mixed for columns with categories, such as "colour"'],
    ['categorical', mixedColumns, 'expected mixed for columns with categories, such as "colour"'],
    ['negative-binomial', codes, 'expected categorical or mixed for columns with categories, such as "a"'],
    ['categorical', rows, 'expected gaussian or negative-binomial or mixed for rows of numbers'],
  ] as const)('%s', (name, data, message) => {
    expect(() => likelihoodFor(name, data)).toThrow(`likelihood is ${name}; ${message}`);
  });

  test.each([
    ['bernoulli', bytes],
    ['bernoulli', numbers],
    ['gaussian', numbers],
    ['gaussian', rows],
    ['discretised-logistic', bytes],
    ['negative-binomial', rows],
    ['categorical', codes],
    ['mixed', codes],
    ['mixed', mixedColumns],
    ['mixed', rows],
  ] as const)('%s is taken', (name, data) => {
    expect(likelihoodFor(name, data).kind).toBe(name);
  });
});
