import {
  type Condition,
  conformalThreshold,
  encodeCalibration,
  GRAPH_FILES,
  type ImageInput,
  type InputDescription,
  itemSize,
  type ManifestDraft,
  RandomSource,
  writeModel,
} from '@elbo/models';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { add, flatten, gemm, mul, reduceSum, reshape, sigmoid, square, sub, tanh } from '@elbo/training/onnx/ops';
import { float32, type Tensor } from '@elbo/training/onnx/tensor';

/**
 * A linear model small enough to be calculated by hand: mean = x W + b, log_variance = tanh(x V), x_mean = sigmoid(z U).
 * A conditional one adds label C to the mean, label E to what the log_variance is tanh of, and label L to z U.
 */
export interface FixtureModel {
  readonly draft: ManifestDraft;
  readonly files: Map<string, Uint8Array>;
  readonly weights: Readonly<Record<'W' | 'b' | 'V' | 'U' | 'C' | 'E' | 'L', Float32Array>>;
  readonly calibrationScores: Float32Array;
}

export const GREY_INPUT: ImageInput = {
  kind: 'image',
  shape: [1, 8, 8],
  channel_order: 'CHW',
  colour: 'grey',
  value_range: [0, 1],
  resize: { fit: 'contain', background: 0 },
};

export const RGB_INPUT: ImageInput = {
  kind: 'image',
  shape: [3, 6, 5],
  channel_order: 'CHW',
  colour: 'rgb',
  value_range: [-1, 1],
  resize: { fit: 'fill', background: 255 },
};

export const VECTOR_INPUT: InputDescription = { kind: 'vector', shape: [5], value_range: [-10, 10] };

export interface FixtureOptions {
  readonly name: string;
  readonly input: InputDescription;
  readonly latentSize?: number;
  readonly seed?: number;
  readonly condition?: Condition;
  /** Changes the manifest before it is written. */
  readonly change?: (draft: ManifestDraft) => ManifestDraft;
}

export function fixtureModel(options: FixtureOptions): FixtureModel {
  const { name, input, latentSize: Z = 4, seed = 1, condition, change } = options;
  const D = itemSize(input);
  const random = new RandomSource(seed);
  const draw = (rows: number, columns: number): Float32Array =>
    random.fillNormal(new Float32Array(rows * columns)).map((value) => value / Math.sqrt(rows));
  const K = condition?.classes ?? 0;
  const weights = {
    W: draw(D, Z),
    b: draw(1, Z),
    V: draw(D, Z),
    U: draw(Z, D),
    C: draw(K, Z),
    E: draw(K, Z),
    L: draw(K, D),
  };

  const labelInput = (graph: Graph): Tensor | undefined =>
    condition && graph.input('label', 'float32', ['N', condition.classes]);
  const dense = (rows: Tensor, weight: keyof typeof weights, shape: [number, number]): Tensor =>
    gemm(rows, rows.graph.initialiser(weight, float32(weights[weight], shape)));
  const withLabel = (rows: Tensor, label: Tensor | undefined, weight: 'C' | 'E' | 'L', width: number): Tensor =>
    label === undefined ? rows : add(rows, dense(label, weight, [K, width]));

  const encode = (graph: Graph): { x: Tensor; label: Tensor | undefined; mean: Tensor; logVariance: Tensor } => {
    const x = graph.input('x', 'float32', ['N', ...input.shape]);
    const label = labelInput(graph);
    const rows = input.kind === 'image' ? flatten(x) : x;
    const mean = add(dense(rows, 'W', [D, Z]), graph.initialiser('b', float32(weights.b, [Z])));
    return {
      x,
      label,
      mean: withLabel(mean, label, 'C', Z),
      logVariance: tanh(withLabel(dense(rows, 'V', [D, Z]), label, 'E', Z)),
    };
  };
  const decode = (z: Tensor, label: Tensor | undefined): Tensor => {
    const [low, high] = input.value_range;
    const unit = sigmoid(withLabel(dense(z, 'U', [Z, D]), label, 'L', D));
    const rows = add(mul(unit, high - low), low);
    return input.kind === 'image' ? reshape(rows, ['N', ...input.shape]) : rows;
  };

  const encoder = new Graph('encoder');
  const encoded = encode(encoder);
  encoder.output(encoded.mean, 'mean');
  encoder.output(encoded.logVariance, 'log_variance');

  const decoder = new Graph('decoder');
  decoder.output(decode(decoder.input('z', 'float32', ['N', Z]), labelInput(decoder)), 'x_mean');

  const scorer = new Graph('scorer');
  const { x, label, mean } = encode(scorer);
  const expected = decode(mean, label);
  const errorMap = square(sub(x, expected));
  const reconstruction = reduceSum(input.kind === 'image' ? flatten(errorMap) : errorMap, [1]);
  const norm = reduceSum(square(mean), [1]);
  scorer.output(add(reconstruction, norm), 'score');
  scorer.output(reconstruction, 'reconstruction');
  scorer.output(norm, 'norm');
  scorer.output(errorMap, 'error_map');
  if (input.kind === 'vector') scorer.output(expected, 'x_mean');

  const calibrationScores = Float32Array.from({ length: 199 }, (_, i) => (i + 1) / 4);
  const draft: ManifestDraft = {
    schema_version: 1,
    name,
    description: `fixture ${name}`,
    family: 'mlp-vae',
    input,
    latent: { size: Z, active_units: Z, kl_per_dimension: Array.from({ length: Z }, () => 1) },
    likelihood: { kind: 'bernoulli' },
    prior: { kind: 'standard-normal' },
    ...(condition && { condition }),
    scorer: { components: ['reconstruction', 'norm'] },
    calibration: {
      dataset: 'fixture',
      size: calibrationScores.length,
      default_false_positive_rate: 0.05,
      thresholds: [0.01, 0.05].map((rate) => ({
        false_positive_rate: rate,
        threshold: conformalThreshold(calibrationScores, rate),
      })),
      score_quantiles: [],
    },
    training: {
      configuration: { family: 'mlp-vae' },
      dataset: { name: 'fixture', sha256: '0'.repeat(64), train_examples: 1, validation_examples: 1 },
      seed,
      engine: 'none',
      threads: 1,
      epochs: 0,
      steps: 0,
      started_at: '2026-01-01T00:00:00Z',
      seconds: 0,
    },
    metrics: { elbo: { value: -90, unit: 'nats', split: 'test', examples: 10 } },
  };
  return {
    draft: change === undefined ? draft : change(draft),
    files: new Map([
      [GRAPH_FILES.encoder, encodeModel(encoder)],
      [GRAPH_FILES.decoder, encodeModel(decoder)],
      [GRAPH_FILES.scorer, encodeModel(scorer)],
      ['calibration.f32', encodeCalibration(calibrationScores)],
    ]),
    weights,
    calibrationScores,
  };
}

/** Writes the model as the next version; @returns its directory. */
export async function writeFixture(store: string, { draft, files }: FixtureModel): Promise<string> {
  return (await writeModel(store, draft, files)).directory;
}

/** What the fixture's encoder must give for one item, in double precision; `label` where it is a conditional one. */
export function expectedMean({ weights, draft }: FixtureModel, item: ArrayLike<number>, label?: number): number[] {
  const size = draft.latent.size;
  return product(item, weights.W, size).map((value, j) => value + (weights.b[j] ?? 0) + of(weights.C, size, label, j));
}

export function expectedLogVariance(
  { weights, draft }: FixtureModel,
  item: ArrayLike<number>,
  label?: number,
): number[] {
  const size = draft.latent.size;
  return product(item, weights.V, size).map((value, j) => Math.tanh(value + of(weights.E, size, label, j)));
}

/** What the fixture's decoder must give for one latent. */
export function expectedDecoding({ weights, draft }: FixtureModel, z: ArrayLike<number>, label?: number): number[] {
  const [low, high] = draft.input.value_range;
  const size = itemSize(draft.input);
  return product(z, weights.U, size).map(
    (value, j) => low + (high - low) / (1 + Math.exp(-value - of(weights.L, size, label, j))),
  );
}

/** What a label's one-hot row picks from a matrix: its own row. */
function of(matrix: Float32Array, columns: number, label: number | undefined, column: number): number {
  return label === undefined ? 0 : (matrix[label * columns + column] ?? Number.NaN);
}

function product(row: ArrayLike<number>, matrix: Float32Array, columns: number): number[] {
  return Array.from({ length: columns }, (_, j) =>
    Array.from(row).reduce((sum, value, i) => sum + value * (matrix[i * columns + j] ?? 0), 0),
  );
}
