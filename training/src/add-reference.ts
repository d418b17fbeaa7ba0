import { addReference, type Manifest, ModelStoreError, readModel } from '@elbo/models';
import { DataError } from './data/data-error.js';
import { classNamesOf, splitHeldOut } from './data/dataset.js';
import { referenceData } from './export/reference.js';
import { checkTrainedOn, type ExportAgainOptions } from './export-again.js';
import { parseConfiguration } from './vae/configuration.js';

export interface AddReferenceOptions extends Omit<ExportAgainOptions, 'store'> {
  /** Validation examples that are taken at the most; default: what the model's configuration says. */
  readonly points?: number | undefined;
}

/**
 * Adds reference data to a version that was written without: its graphs, scores and metrics stay as they are.
 * @throws {ModelStoreError} where the version cannot be read or has reference data, {ConfigurationError} where Elbo did not train it, {DataError}
 *   where the data set is not the one that it was trained on, or no example is asked for
 */
export async function addReferenceData(options: AddReferenceOptions): Promise<Manifest> {
  const { directory, dataset, engine, points, onProgress } = options;
  const { manifest, graphs } = await readModel(directory);
  if (manifest.reference !== undefined) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `${directory}: it has reference data, which stay as they are; expected a version without, or elbo export for the next one with others`,
    );
  }
  checkTrainedOn(dataset, manifest);
  const configuration = parseConfiguration({
    ...manifest.training.configuration,
    ...(points !== undefined && { reference_points: points }),
  });
  const encoder = await engine.load(graphs.encoder);
  try {
    const data = await referenceData({
      encoder,
      examples: splitHeldOut(dataset.train, configuration).validation,
      input: manifest.input,
      latentSize: manifest.latent.size,
      classes: manifest.condition?.classes,
      classNames: classNamesOf(dataset),
      points: configuration.reference_points,
      seed: configuration.seed,
      onProgress,
    });
    if (data === undefined) {
      throw new DataError(
        `reference_points is ${configuration.reference_points}, or a code is not finite; expected at least one example with a finite code`,
      );
    }
    return await addReference(directory, data.reference, data.files, {
      reference_points: configuration.reference_points,
    });
  } finally {
    await encoder.release();
  }
}
