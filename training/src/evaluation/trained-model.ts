import { type LatentPrior, type Manifest, readModel } from '@elbo/models';
import type { WeightValues } from '../nn/parameters.js';
import { float32Initialisers } from '../onnx/decode.js';
import { type Configuration, ConfigurationError, parseConfiguration } from '../vae/configuration.js';
import { buildModel, type Model } from '../vae/model.js';

export interface TrainedModel {
  readonly manifest: Manifest;
  readonly configuration: Configuration;
  readonly model: Model;
  readonly weights: WeightValues;
  /** What samples are drawn by: the decoder's file, z [N, Z] → x_mean [N, …], and the prior of z. */
  readonly decoder: Uint8Array;
  readonly prior: LatentPrior;
}

/**
 * A model of the store as it was trained: the network of its recorded configuration, with the weights that stand in
 * its exported files, which know no noise. Every file is checked against its hash.
 * @param directory `models/<name>/<version>`
 * @throws {ModelStoreError} where the version cannot be read, {ConfigurationError} where Elbo did not train it
 */
export async function readTrainedModel(directory: string): Promise<TrainedModel> {
  const { manifest, graphs, prior } = await readModel(directory);
  const configuration = parseConfiguration(manifest.training.configuration);
  const model = trainedModel(configuration, manifest);
  const initialisers = new Map(Object.values(graphs).flatMap((graph) => [...float32Initialisers(graph)]));
  const weights = new Map(
    model.parameters.map(({ name, shape }) => {
      const values = initialisers.get(name);
      if (values === undefined) {
        throw new ConfigurationError(`${directory}: no graph holds ${name} [${shape.join(', ')}]`);
      }
      return [name, values];
    }),
  );
  return { manifest, configuration, model, weights, decoder: graphs.decoder, prior };
}

/**
 * The network of a configuration as it is exported, for the data that a manifest describes.
 * @throws {ConfigurationError} where the configuration does not suit them
 */
export function trainedModel(
  configuration: Configuration,
  { input, condition }: Pick<Manifest, 'input' | 'condition'>,
): Model {
  return buildModel(configuration, input.shape, {
    isTrained: true,
    classes: condition?.classes,
    columns: input.kind === 'vector' ? input.columns : undefined,
  });
}
