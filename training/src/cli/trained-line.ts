import type { Metric } from '@elbo/models';

/** Prints what was trained as one line of JSON: what all runs have in common, and what only some have. */
export function printTrained(
  run: { readonly directory: string; readonly bestEpoch: number; readonly secondsPerStep: number },
  record: { readonly name: string; readonly version: string; readonly metrics: Readonly<Record<string, Metric>> },
  more: Readonly<Record<string, unknown>>,
): void {
  const { directory, bestEpoch, secondsPerStep } = run;
  const { name, version, metrics } = record;
  const common = { directory, name, version, best_epoch: bestEpoch, ms_per_step: 1000 * secondsPerStep };
  console.log(JSON.stringify({ ...common, ...more, metrics }));
}
