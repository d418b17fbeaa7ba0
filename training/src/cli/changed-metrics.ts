import type { Manifest } from '@elbo/models';

/** Metrics of a version beside those of the one that it was made from. */
export function printChanges(before: Manifest['metrics'], after: Manifest['metrics'], digits: number): void {
  for (const [name, { value, unit }] of Object.entries(after)) {
    const was = before[name]?.value;
    console.log(
      `  ${name} ${was === undefined ? '' : `${was.toFixed(digits)} → `}${value.toFixed(digits)} ${unit ?? ''}`,
    );
  }
}
