import {
  CALIBRATION_FILE,
  encodeCalibration,
  GRAPH_FILES,
  type ImageInput,
  type InputDescription,
  type Manifest,
  type ManifestDraft,
  type Metric,
  RandomSource,
  SCHEMA_VERSION,
  writeModel,
} from '@elbo/models';
import { type Examples, slice } from '../data/dataset.js';
import type { Engine, Program } from '../engines/engine.js';
import { AggregatePosteriorEstimator } from '../evaluation/aggregate-posterior.js';
import { firstInputs, inputBatches, runOverExamples } from '../evaluation/batches.js';
import { latentRecord } from '../evaluation/latent-record.js';
import { describeLatent } from '../evaluation/latent-structure.js';
import type { WeightValues } from '../nn/parameters.js';
import { encodeModel } from '../onnx/encode.js';
import { float32, type TensorData } from '../onnx/tensor.js';
import { previewPng } from '../pictures/preview.js';
import { type EpochRecord, trainingCurves } from '../pictures/training-curves.js';
import type { Configuration } from '../vae/configuration.js';
import type { Model } from '../vae/model.js';
import { describeCalibration, fitCombination } from './calibration.js';
import { COMPONENTS, decoderGraph, encoderGraph, scorerGraph } from './graphs.js';
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
    const components = await runOverExamples(uncombined, fitting, COMPONENTS).finally(() => uncombined.release());
    const combination = fitCombination(COMPONENTS.map((name) => components[name]));
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

    const latent = await describeLatent(engine, model, weights, validation);
    const files = new Map<string, Uint8Array>([
      [GRAPH_FILES.encoder, encoderBytes],
      [GRAPH_FILES.decoder, decoderBytes],
      [GRAPH_FILES.scorer, scorerBytes],
      [CALIBRATION_FILE, encodeCalibration(scores)],
      ['training-curves.svg', Buffer.from(trainingCurves(request.history))],
    ]);
    if (input.kind === 'image') {
      const shown = await firstInputs(validation, PREVIEW_IMAGES);
      files.set('preview.png', await preview(encoder, decoder, model, input, shown, configuration.seed));
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
        ...latentRecord(latent, 'validation'),
      },
      likelihood: { kind: model.likelihood.kind },
      prior: { kind: model.prior.kind },
      scorer: { components: [...COMPONENTS] },
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
  model: Model,
  input: ImageInput,
  x: TensorData,
  seed: number,
): Promise<Uint8Array> {
  const { mean } = await encoder.run({ x });
  const reconstructed = await decoder.run({ z: mean });
  const noise = new RandomSource(seed).fillNormal(new Float32Array(PREVIEW_SAMPLES * model.latentSize));
  const sampled = await decoder.run({ z: float32(noise, [PREVIEW_SAMPLES, model.latentSize]) });
  return previewPng({
    shape: input.shape,
    originals: items(x),
    reconstructions: items(reconstructed.x_mean),
    samples: items(sampled.x_mean),
  });
}

function items({ data, shape }: TensorData): Float32Array[] {
  const size = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => (data as Float32Array).subarray(i * size, (i + 1) * size));
}
