import type { Latent } from '@elbo/models';
import type { LatentDescription } from '../evaluation/latent-structure.js';

/** Rows of the table at most. */
const LARGEST_TABLE = 32;
const HEADINGS = ['dimension', 'KL in nats', 'sd of mean', 'range', 'correlates most'] as const;

/**
 * A latent space for readers: a line a dimension, those that say most of the examples first.
 * @returns its lines, without line ends
 */
export function latentTable(
  { klPerDimension }: Pick<LatentDescription, 'klPerDimension'>,
  {
    aggregate_posterior: aggregate,
    traversal_ranges: ranges,
  }: Required<Pick<Latent, 'aggregate_posterior' | 'traversal_ranges'>>,
): string[] {
  const byKl = Array.from(klPerDimension.keys()).sort((a, b) => klPerDimension[b] - klPerDimension[a]);
  const rows = byKl.slice(0, LARGEST_TABLE).map((dimension) => {
    const [low, high] = ranges[dimension];
    const strongest = aggregate.strongest_correlations[dimension];
    return [
      String(dimension),
      klPerDimension[dimension].toFixed(3),
      aggregate.standard_deviation_of_means[dimension].toFixed(3),
      `${low.toFixed(2)} to ${high.toFixed(2)}`,
      strongest === undefined ? '' : `${strongest.correlation.toFixed(2)} with ${strongest.dimension}`,
    ];
  });
  const widths = HEADINGS.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]) => cells.map((cell, i) => cell.padStart(widths[i])).join('  ');
  const left = byKl.length - rows.length;
  return [line(HEADINGS), ...rows.map(line), ...(left > 0 ? [`and ${left} of less KL`] : [])];
}
