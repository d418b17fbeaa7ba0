import { GRAPH_FILES } from '@elbo/models';
import type { Dataset } from './data/dataset.js';
import { readTrainedModel } from './evaluation/trained-model.js';
import type { WeightValues } from './nn/parameters.js';
import { elementCount } from './onnx/tensor.js';
import { type Configuration, ConfigurationError } from './vae/configuration.js';
import type { Model } from './vae/model.js';

/** Weights of a version that training starts from. */
export interface StartingPoint {
  /** `name/version`, with the SHA-256 of its encoder and decoder. */
  readonly version: string;
  readonly weights: WeightValues;
}

/**
 * Reads the weights that training is to start from.
 * @param directory `models/<name>/<version>`
 * @throws {ModelStoreError} where the version cannot be read, {ConfigurationError} where it was trained on examples that
 *   the new run would validate on
 */
export async function startFrom(
  directory: string,
  { seed, validation_fraction: fraction }: Configuration,
  { sha256 }: Pick<Dataset, 'sha256'>,
): Promise<StartingPoint> {
  const { manifest, configuration, weights } = await readTrainedModel(directory);
  const { name, version, files, training } = manifest;
  const isSplitAlike = configuration.seed === seed && configuration.validation_fraction === fraction;
  if (training.dataset.sha256 === sha256 && !isSplitAlike) {
    throw new ConfigurationError(
      `${directory} was trained with seed ${configuration.seed} and validation_fraction ${configuration.validation_fraction}; expected the same here, or examples that it has seen would be validated on`,
    );
  }
  const hashes = [GRAPH_FILES.encoder, GRAPH_FILES.decoder].map((file) => files[file]?.sha256.slice(0, 16));
  return { version: `${name}/${version} ${hashes.join(' ')}`, weights };
}

/**
 * The same model, whose parameters start as those of the same name; others start as they would.
 * @throws {ConfigurationError} where one has another shape, or none has the name of another
 */
export function startingWith(model: Model, weights: WeightValues): Model {
  let shared = 0;
  const parameters = model.parameters.map((parameter) => {
    const { name, shape, trainable } = parameter;
    const values = trainable ? weights.get(name) : undefined;
    if (values === undefined) return parameter;
    if (values.length !== elementCount(shape)) {
      throw new ConfigurationError(
        `--from: ${name} has ${values.length} numbers; expected ${elementCount(shape)} [${shape.join(', ')}], as this configuration has it`,
      );
    }
    shared++;
    return { ...parameter, initialise: () => values.slice() };
  });
  if (shared === 0) throw new ConfigurationError('--from: no parameter of that model is one of this configuration');
  return { ...model, parameters };
}
