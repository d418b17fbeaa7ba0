import type { Metric } from '@elbo/models';
import { readClassifier } from '../classifier/record.js';
import type { Engine } from '../engines/engine.js';
import type { TrainedModel } from '../evaluation/trained-model.js';
import { SAMPLE_METRICS, type SampleQualityOptions, sampleQuality } from '../sample-quality/sample-quality.js';
import { ConfigurationError } from '../vae/configuration.js';

export interface SampleFlags {
  readonly classifier?: string;
  readonly sampleCount?: number;
}

/** @throws {ConfigurationError} where samples are to be compared without a classifier, or a flag of theirs has no use */
export function checkSampleFlags(metrics: readonly string[], { classifier, sampleCount }: SampleFlags): void {
  const names = SAMPLE_METRICS.join(', ');
  const [first] = SAMPLE_METRICS.filter((metric) => metrics.includes(metric));
  if (first !== undefined && classifier === undefined) {
    throw new ConfigurationError(
      `metric ${first} compares features of a classifier: name one by --classifier classifiers/NAME/VERSION; elbo train --preset features-conv makes it`,
    );
  }
  if (first !== undefined) return;
  for (const [flag, value] of Object.entries({ '--classifier': classifier, '--sample-count': sampleCount })) {
    if (value !== undefined)
      throw new ConfigurationError(`${flag} is for the metrics ${names}; expected one of them in --metrics`);
  }
}

/**
 * The quality of a model's samples, by the decoder that is served and the classifier of a directory.
 * @throws {ModelStoreError} where the classifier cannot be read, and as `sampleQuality` does
 */
export async function evaluateSamples(
  { decoder: file, prior, configuration, manifest }: TrainedModel,
  directory: string,
  {
    engine,
    ...options
  }: { readonly engine: Engine } & Omit<SampleQualityOptions, 'sampler' | 'likelihood' | 'classifier'>,
): Promise<Record<string, Metric>> {
  const classifier = await readClassifier(engine, directory);
  try {
    const decoder = await engine.load(file);
    try {
      return await sampleQuality({
        ...options,
        engine,
        sampler: { decoder, prior, condition: manifest.condition, shape: manifest.input.shape },
        likelihood: configuration.likelihood,
        classifier,
      });
    } finally {
      await decoder.release();
    }
  } finally {
    await classifier.program.release();
  }
}
