import {
  CALIBRATION_FILE,
  drawLatents,
  encodeCalibration,
  encodeMixture,
  type Golden,
  GRAPH_FILES,
  goldenItem,
  goldenLatents,
  goldenOf,
  type ImageInput,
  type InputDescription,
  type LatentMixture,
  type LatentPrior,
  type Manifest,
  type ManifestDraft,
  type Metric,
  PRIOR_FILE,
  type PruningRecord,
  RandomSource,
  SCHEMA_VERSION,
  writeModel,
} from '@elbo/models';
import { type Examples, slice } from '../data/dataset.js';
import type { Engine, Program } from '../engines/engine.js';
import { AggregatePosteriorEstimator } from '../evaluation/aggregate-posterior.js';
import {
  firstInputs,
  type InputFeeds,
  inputBatches,
  joined,
  oneHotRows,
  runOverExamples,
} from '../evaluation/batches.js';
import { latentRecord } from '../evaluation/latent-record.js';
import { describeLatent } from '../evaluation/latent-structure.js';
import { valuesOf, type WeightValues } from '../nn/parameters.js';
import { encodeModel } from '../onnx/encode.js';
import type { Graph } from '../onnx/graph.js';
import { float32, type TensorData } from '../onnx/tensor.js';
import { previewPng } from '../pictures/preview.js';
import type { Configuration } from '../vae/configuration.js';
import { MIXTURE } from '../vae/mixture-prior.js';
import type { Model } from '../vae/model.js';
import { describeCalibration, fitCombination } from './calibration.js';
import { isImage, type NormalData, scoredComponents } from './components.js';
import { fitGaussianMixture } from './gaussian-mixture.js';
import { decoderGraph, encoderGraph, scorerGraph } from './graphs.js';
import { usualDetailOf } from './image-detail.js';
import { hasInputDistance, inputDistributionOf } from './input-distance.js';
import { checkParity } from './parity.js';
import { referenceData } from './reference.js';

const PREVIEW_IMAGES = 32;
const PREVIEW_SAMPLES = 64;

/** Normals of the mixture that the latents of images are held against, and the examples that it is fitted to, at most. */
const MIXTURE_COMPONENTS = 64;
const MIXTURE_EXAMPLES = 10_000;
/** Fewer say nothing of a component's variances. */
const EXAMPLES_PER_COMPONENT = 50;

/** Outputs of the scorer that are not one number an example. */
const NOT_COMPONENTS: readonly string[] = ['error_map', 'x_mean'];

export interface ExportRequest {
  readonly engine: Engine;
  readonly model: Model;
  readonly weights: WeightValues;
  readonly configuration: Configuration;
  readonly input: InputDescription;
  /** What the model was trained on: gives the aggregate posterior. */
  readonly train: Examples;
  /** Held-out examples: half fits the score, half calibrates it. */
  readonly validation: Examples;
  /** Of each class, where the data have classes. */
  readonly classNames?: readonly string[] | undefined;
  readonly training: Manifest['training'];
  readonly metrics: Readonly<Record<string, Metric>>;
  /** The picture of training, SVG. */
  readonly curves: string;
  /** Where another model was made smaller. */
  readonly prunedFrom?: PruningRecord;
  /** Told how far long work is, and what it is. */
  readonly onProgress?: ((done: number, total: number, text: string) => void) | undefined;
}

/**
 * Writes the next version of a model to a store: the three graphs, checked against the trained one, the calibration,
 * the pictures and the manifest.
 * @returns where it stands, its manifest, and the largest difference that the check found
 * @throws {ParityError} where an exported graph does not compute what was trained; nothing is written then
 */
export async function exportModel(
  store: string,
  request: ExportRequest,
): Promise<{ directory: string; manifest: Manifest; parity: number }> {
  const { engine, model, weights, configuration, input, validation } = request;
  // Matrices that pruning left mostly zeros in are written without them, and rounded weights in half precision.
  const written = (graph: Graph) => encodeModel(graph, configuration.description, new Set(), { compact: true });
  const encoderBytes = written(encoderGraph(model, weights));
  const decoderBytes = written(decoderGraph(model, weights));
  const programs: Program[] = [];
  const load = async (bytes: Uint8Array): Promise<Program> => {
    const program = await engine.load(bytes);
    programs.push(program);
    return program;
  };
  try {
    const encoder = await load(encoderBytes);
    const decoder = await load(decoderBytes);

    const normal = await normalDataOf(engine, encoder, request);

    // One half of the held-out examples fits the score, the other states the p-values: a score that had seen the
    // second half would make its p-values too good.
    const middle = Math.floor(validation.count / 2);
    const fitting = slice(validation, 0, middle);
    const calibrating = slice(validation, middle, validation.count);
    const plain = scorerGraph(model, weights, normal);
    const componentNames = plain.outputs.map(({ name }) => name).filter((name) => !NOT_COMPONENTS.includes(name));
    const uncombined = await engine.load(encodeModel(plain));
    const scored = scoredComponents(model);
    const components = await runOverExamples(uncombined, fitting, scored, model).finally(() => uncombined.release());
    const combination = fitCombination(scored.map((name) => components[name]));
    const scorerBytes = written(scorerGraph(model, weights, normal, combination));
    const scorer = await load(scorerBytes);
    const scores = (await runOverExamples(scorer, calibrating, ['score'], model)).score.sort();

    const parity = await checkParity(
      engine,
      model,
      weights,
      { encoder, decoder, scorer },
      await firstInputs(validation, model),
    );

    const latent = await describeLatent(engine, model, weights, validation);
    const mixture = mixtureOf(model, weights);
    const prior: LatentPrior = { latentSize: model.latentSize, ...(mixture && { mixture }) };
    const files = new Map<string, Uint8Array>([
      [GRAPH_FILES.encoder, encoderBytes],
      [GRAPH_FILES.decoder, decoderBytes],
      [GRAPH_FILES.scorer, scorerBytes],
      [CALIBRATION_FILE, encodeCalibration(scores)],
      ['training-curves.svg', Buffer.from(request.curves)],
    ]);
    if (mixture !== undefined) files.set(PRIOR_FILE, encodeMixture(mixture));
    if (input.kind === 'image') {
      const shown = await firstInputs(validation, { count: PREVIEW_IMAGES, classes: model.classes });
      files.set(
        'preview.png',
        await preview({ encoder, decoder }, prior, { input, shown, classes: model.classes, seed: configuration.seed }),
      );
    }
    const { classNames, onProgress } = request;
    const reference = await referenceData({
      encoder,
      examples: validation,
      input,
      latentSize: model.latentSize,
      classes: model.classes,
      classNames,
      points: configuration.reference_points,
      seed: configuration.seed,
      onProgress,
    });
    for (const [file, content] of reference?.files ?? []) files.set(file, content);
    const draft: ManifestDraft = {
      schema_version: SCHEMA_VERSION,
      name: configuration.name,
      description: configuration.description,
      family: configuration.family,
      input,
      latent: {
        size: model.latentSize,
        active_units: latent.activeUnits,
        kl_per_dimension: [...latent.klPerDimension],
        ...latentRecord(latent, 'validation'),
      },
      ...conditionOf(model, request.train),
      likelihood: { kind: model.likelihood.kind },
      prior: {
        kind: configuration.prior,
        ...(mixture && { components: mixture.components, dimensions: mixture.dimensions }),
      },
      scorer: { components: componentNames, scored: [...scored] },
      calibration: describeCalibration(scores, `${configuration.dataset}, second half of the validation split`),
      golden: await goldenRecord({ encoder, decoder, scorer }, input, model),
      ...(reference && { reference: reference.reference }),
      training: request.training,
      ...(request.prunedFrom && { pruned_from: request.prunedFrom }),
      metrics: { ...request.metrics },
    };
    return { ...(await writeModel(store, draft, files)), parity };
  } finally {
    await Promise.all(programs.map((program) => program.release()));
  }
}

/** What the exported graphs give for the golden input. */
export async function goldenRecord(
  { encoder, decoder, scorer }: Record<'encoder' | 'decoder' | 'scorer', Program>,
  input: InputDescription,
  { latentSize, classes }: Pick<Model, 'latentSize' | 'classes'>,
): Promise<Golden> {
  const shapes = { input, latent: { size: latentSize } };
  const label: Record<string, TensorData> = classes === undefined ? {} : { label: oneHotRows([0], classes) };
  const x = float32(goldenItem(shapes), [1, ...input.shape]);
  const { mean } = await encoder.run({ x, ...label });
  const { x_mean } = await decoder.run({ z: float32(goldenLatents(shapes), [1, latentSize]), ...label });
  const { score } = await scorer.run({ x, ...label });
  const data = (tensor: TensorData) => tensor.data as Float32Array;
  return goldenOf({ mean: data(mean), x_mean: data(x_mean), score: data(score) }, { input });
}

/** What the scorer measures distances to. */
async function normalDataOf(
  engine: Engine,
  encoder: Program,
  { model, weights, train, configuration }: ExportRequest,
): Promise<NormalData> {
  const { latentSize } = model;
  const estimator = new AggregatePosteriorEstimator(latentSize);
  const means: Float32Array[] = [];
  const step = Math.max(1, Math.ceil(train.count / MIXTURE_EXAMPLES));
  for await (const { start, feeds } of inputBatches(train, model)) {
    const { mean, log_variance } = await encoder.run(feeds);
    const rows = mean.data as Float32Array;
    estimator.add(rows, log_variance.data as Float32Array);
    if (!isImage(model)) continue;
    for (let i = 0; i < rows.length / latentSize; i++) {
      if ((start + i) % step === 0) means.push(rows.slice(i * latentSize, (i + 1) * latentSize));
    }
  }
  return {
    latents: estimator.estimate(),
    ...(isImage(model) && {
      means: fitGaussianMixture(joined(means), {
        components: Math.max(1, Math.min(MIXTURE_COMPONENTS, Math.floor(means.length / EXAMPLES_PER_COMPONENT))),
        size: latentSize,
        seed: configuration.seed,
      }),
      detail: await usualDetailOf(engine, train),
    }),
    ...(hasInputDistance(model) && {
      inputs: await inputDistributionOf(
        engine,
        model,
        weights,
        train,
        RandomSource.derived(configuration.seed, 'isolation'),
      ),
    }),
  };
}

interface PreviewRequest {
  readonly input: ImageInput;
  readonly shown: InputFeeds;
  /** Of a conditional model, whose samples go through the classes in turn. */
  readonly classes: number | undefined;
  readonly seed: number;
}

async function preview(
  { encoder, decoder }: Record<'encoder' | 'decoder', Program>,
  prior: LatentPrior,
  { input, shown, classes, seed }: PreviewRequest,
): Promise<Uint8Array> {
  const { x, ...label } = shown;
  const { mean } = await encoder.run(shown);
  const reconstructed = await decoder.run({ z: mean, ...label });
  const latents = float32(drawLatents(prior, PREVIEW_SAMPLES, seed), [PREVIEW_SAMPLES, prior.latentSize]);
  const inTurn = Array.from({ length: PREVIEW_SAMPLES }, (_, i) => i % (classes ?? 1));
  const sampled = await decoder.run({
    z: latents,
    ...(classes !== undefined && { label: oneHotRows(inTurn, classes) }),
  });
  return previewPng({
    shape: input.shape,
    originals: items(x),
    reconstructions: items(reconstructed.x_mean),
    samples: items(sampled.x_mean),
  });
}

/** What a manifest says of the classes of a conditional model. */
function conditionOf({ classes }: Model, { labels, count }: Examples): Pick<ManifestDraft, 'condition'> {
  if (classes === undefined) return {};
  const counts = new Array<number>(classes).fill(0);
  for (const label of labels ?? []) counts[label]++;
  return { condition: { classes, frequencies: counts.map((times) => times / count) } };
}

/** The components of a trained model's prior, as samples are drawn from them. */
function mixtureOf({ mixture }: Model, weights: WeightValues): LatentMixture | undefined {
  if (mixture === undefined) return undefined;
  const logWeight = valuesOf(MIXTURE.logWeight, weights);
  const means = valuesOf(MIXTURE.mean, weights);
  const components = logWeight.length;
  return {
    components,
    dimensions: means.length / components,
    weights: logWeight.map(Math.exp),
    means,
    deviations: valuesOf(MIXTURE.logVariance, weights).map((value) => Math.exp(value / 2)),
  };
}

function items({ data, shape }: TensorData): Float32Array[] {
  const size = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => (data as Float32Array).subarray(i * size, (i + 1) * size));
}
