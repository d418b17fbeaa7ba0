import {
  CALIBRATION_FILE,
  type Calibration,
  conformalPValue,
  distanceToUniform,
  encodeCalibration,
  type Manifest,
  readModel,
  thresholdAt,
  writeModel,
} from '@elbo/models';
import { DataError } from '../data/data-error.js';
import type { Engine } from '../engines/engine.js';
import { joined } from '../evaluation/batches.js';
import { describeCalibration } from '../export/calibration.js';
import { checkOutputs } from './score-files.js';
import { ServedModel } from './served-model.js';
import { type SourceOptions, sourceBatches } from './source-rows.js';

/** Rows that state p-values down to 5 %, the largest rate that thresholds are given for. */
const MINIMUM_ROWS = 20;

export interface CalibrateRequest extends Omit<SourceOptions, 'input' | 'classes'> {
  /** `models/<name>/<version>` */
  readonly directory: string;
  /** The model store that the new version goes to. */
  readonly store: string;
  /** Normal data that the model was not trained on. */
  readonly files: readonly string[];
  readonly engine: Engine;
}

export interface Recalibration {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Of the version before. */
  readonly before: {
    readonly calibration: Calibration;
    /** Share of the rows that it calls anomalous at its default rate. */
    readonly anomalousShare: number;
    /** Kolmogorov-Smirnov distance of its p-values of the rows to uniform; 0 where the rows are as its own were. */
    readonly distance: number;
  };
}

/**
 * Writes the next version of a model: the same graphs, with p-values and thresholds of other normal data.
 * @throws {DataError} where the files cannot be read or hold fewer than 20 rows
 */
export async function calibrate(request: CalibrateRequest): Promise<Recalibration> {
  const { directory, store, files, engine } = request;
  const loaded = await readModel(directory);
  const { manifest, calibrationScores } = loaded;
  const model = await ServedModel.open(engine, loaded);
  const batches: Float32Array[] = [];
  try {
    const { input } = manifest;
    for await (const batch of sourceBatches(files, { ...request, input, classes: model.classes })) {
      const { scores } = await model.score(batch.feeds);
      checkOutputs(batch, { score: scores });
      batches.push(scores);
    }
  } finally {
    await model.release();
  }
  const scores = joined(batches).sort();
  if (scores.length < MINIMUM_ROWS) {
    throw new DataError(`${files.join(', ')}: there are ${scores.length} rows; expected at least ${MINIMUM_ROWS}`);
  }
  const { version, files: _, ...draft } = manifest;
  const { default_false_positive_rate: rate } = manifest.calibration;
  const threshold = thresholdAt(manifest.calibration, calibrationScores, rate);
  const pValues = Float64Array.from(scores, (score) => conformalPValue(calibrationScores, score)).sort();
  return {
    ...(await writeModel(
      store,
      {
        ...draft,
        calibration: {
          ...describeCalibration(
            scores,
            `${files.length === 1 ? files[0] : `${files.length} files`}, by elbo calibrate`,
          ),
          recalibrated_from: `${manifest.name}/${version}`,
        },
      },
      new Map(loaded.files).set(CALIBRATION_FILE, encodeCalibration(scores)),
    )),
    before: {
      calibration: manifest.calibration,
      anomalousShare: scores.filter((score) => score > threshold).length / scores.length,
      distance: distanceToUniform(pValues),
    },
  };
}
