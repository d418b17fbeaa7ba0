import {
  CALIBRATION_FILE,
  drawLatents,
  encodeCalibration,
  encodeMixture,
  GRAPH_FILES,
  type ImageInput,
  type InputDescription,
  type LatentMixture,
  type LatentPrior,
  type Manifest,
  type ManifestDraft,
  type Metric,
  PRIOR_FILE,
  SCHEMA_VERSION,
  writeModel,
} from '@elbo/models';
import { type Examples, slice } from '../data/dataset.js';
import type { Engine, Program } from '../engines/engine.js';
import { firstInputs, inputBatches, runOverExamples } from '../evaluation/batches.js';
import { latentStructure } from '../evaluation/latent-structure.js';
import { valuesOf, type WeightValues } from '../nn/parameters.js';
import { encodeModel } from '../onnx/encode.js';
import { float32, type TensorData } from '../onnx/tensor.js';
import { previewPng } from '../pictures/preview.js';
import { curvesOf, type EpochRecord, trainingCurves } from '../pictures/training-curves.js';
import type { Configuration } from '../vae/configuration.js';
import { MIXTURE } from '../vae/mixture-prior.js';
import type { Model } from '../vae/model.js';
import { AggregatePosteriorEstimator } from './aggregate-posterior.js';
import { describeCalibration, fitCombination } from './calibration.js';
import { decoderGraph, encoderGraph, scoreComponents, scorerGraph } from './graphs.js';
import { checkParity } from './parity.js';

const PREVIEW_IMAGES = 32;
const PREVIEW_SAMPLES = 64;

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
  readonly training: Manifest['training'];
  readonly metrics: Readonly<Record<string, Metric>>;
  readonly history: readonly EpochRecord[];
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
  const encoderBytes = encodeModel(encoderGraph(model, weights), configuration.description);
  const decoderBytes = encodeModel(decoderGraph(model, weights), configuration.description);
  const programs: Program[] = [];
  const load = async (bytes: Uint8Array): Promise<Program> => {
    const program = await engine.load(bytes);
    programs.push(program);
    return program;
  };
  try {
    const encoder = await load(encoderBytes);
    const decoder = await load(decoderBytes);

    const estimator = new AggregatePosteriorEstimator(model.latentSize);
    for await (const { x } of inputBatches(request.train)) {
      const { mean, log_variance } = await encoder.run({ x });
      estimator.add(mean.data as Float32Array, log_variance.data as Float32Array);
    }
    const aggregate = estimator.estimate();

    // One half of the held-out examples fits the score, the other states the p-values: a score that had seen the
    // second half would make its p-values too good.
    const middle = Math.floor(validation.count / 2);
    const fitting = slice(validation, 0, middle);
    const reference = slice(validation, middle, validation.count);
    const uncombined = await engine.load(encodeModel(scorerGraph(model, weights, aggregate)));
    const names = scoreComponents(model);
    const components = await runOverExamples(uncombined, fitting, names).finally(() => uncombined.release());
    const combination = fitCombination(names.map((name) => components[name]));
    const scorerBytes = encodeModel(scorerGraph(model, weights, aggregate, combination), configuration.description);
    const scorer = await load(scorerBytes);
    const scores = (await runOverExamples(scorer, reference, ['score'])).score.sort();

    const parity = await checkParity(
      engine,
      model,
      weights,
      { encoder, decoder, scorer },
      await firstInputs(validation),
    );

    const latent = await latentStructure(engine, model, weights, validation);
    const mixture = mixtureOf(model, weights);
    const prior: LatentPrior = { latentSize: model.latentSize, ...(mixture && { mixture }) };
    const files = new Map<string, Uint8Array>([
      [GRAPH_FILES.encoder, encoderBytes],
      [GRAPH_FILES.decoder, decoderBytes],
      [GRAPH_FILES.scorer, scorerBytes],
      [CALIBRATION_FILE, encodeCalibration(scores)],
      ['training-curves.svg', Buffer.from(trainingCurves(request.history, curvesOf(model)))],
    ]);
    if (mixture !== undefined) files.set(PRIOR_FILE, encodeMixture(mixture));
    if (input.kind === 'image') {
      const shown = await firstInputs(validation, PREVIEW_IMAGES);
      files.set('preview.png', await preview(encoder, decoder, prior, input, shown, configuration.seed));
    }
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
      },
      likelihood: { kind: model.likelihood.kind },
      prior: {
        kind: configuration.prior,
        ...(mixture && { components: mixture.components, dimensions: mixture.dimensions }),
      },
      scorer: { components: [...names] },
      calibration: describeCalibration(scores, `${configuration.dataset}, second half of the validation split`),
      training: request.training,
      metrics: { ...request.metrics },
    };
    return { ...(await writeModel(store, draft, files)), parity };
  } finally {
    await Promise.all(programs.map((program) => program.release()));
  }
}

async function preview(
  encoder: Program,
  decoder: Program,
  prior: LatentPrior,
  input: ImageInput,
  x: TensorData,
  seed: number,
): Promise<Uint8Array> {
  const { mean } = await encoder.run({ x });
  const reconstructed = await decoder.run({ z: mean });
  const latents = drawLatents(prior, PREVIEW_SAMPLES, seed);
  const sampled = await decoder.run({ z: float32(latents, [PREVIEW_SAMPLES, prior.latentSize]) });
  return previewPng({
    shape: input.shape,
    originals: items(x),
    reconstructions: items(reconstructed.x_mean),
    samples: items(sampled.x_mean),
  });
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
