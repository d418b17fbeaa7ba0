import type { ClassifierConfiguration } from '../classifier/configuration.js';
import { type TrainClassifierOptions, trainClassifier } from '../classifier/train.js';
import { duration } from '../pictures/numbers.js';
import type { ProgressDisplay } from './progress.js';
import { printTrained } from './trained-line.js';
import { describeWeights, ofWeights } from './weights.js';

/** Trains a classifier, showing how it goes; false where it was interrupted. */
export async function runClassifier(
  options: TrainClassifierOptions & { readonly configuration: ClassifierConfiguration },
  display: ProgressDisplay,
  json: boolean,
): Promise<boolean> {
  const { configuration, onProgress } = options;
  const result = await trainClassifier({
    ...options,
    onProgress(progress) {
      onProgress?.(progress);
      const { epoch, step, totalSteps, metrics } = progress;
      const terms = `cross entropy ${metrics.cross_entropy.toFixed(4)}${ofWeights(metrics)}`;
      display.update(step, totalSteps, `epoch ${epoch + 1}/${configuration.epochs} · ${terms}`);
    },
    onEpoch({ epoch, crossEntropy, validation, weights }) {
      display.line(
        `epoch ${epoch}: cross entropy train ${crossEntropy.toFixed(4)}, validation ${validation.crossEntropy.toFixed(4)}, error ${percent(validation.error)}${describeWeights(weights)}`,
      );
    },
  });
  display.stop();
  if (result === undefined) return false;
  const { directory, record, bestEpoch, secondsPerStep } = result;
  const { sparsity, metrics, training } = record;
  console.log(
    `${directory}: epoch ${bestEpoch}, ${duration(training.seconds)}, ${(1000 * secondsPerStep).toFixed(1)} ms a step`,
  );
  for (const [name, { value, unit }] of Object.entries(metrics))
    console.log(`  ${name} ${value.toFixed(3)} ${unit ?? ''}`);
  for (const { name, weights, non_zero: nonZero } of sparsity.layers) {
    console.log(`  ${name}: ${nonZero} of ${weights} weights, ${percent(1 - nonZero / weights)} are 0`);
  }
  console.log(
    `  compression ${sparsity.compression.toFixed(1)}: ${sparsity.non_zero} of ${sparsity.weights} weights left`,
  );
  if (json) printTrained(result, record, { sparsity });
  return true;
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
