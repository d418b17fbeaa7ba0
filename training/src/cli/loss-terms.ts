import type { EpochRecord } from '../pictures/training-curves.js';
import type { Configuration } from '../vae/configuration.js';
import { TOTAL_CORRELATION } from '../vae/objective.js';
import { DISCRIMINATION, FEATURE_MISFIT } from '../vae/vae-gan.js';

// What progress says of the loss, which for an autoencoder is the reconstruction.

/** Of the steps of one run. */
export function describeTerms(
  { family }: Pick<Configuration, 'family'>,
  metrics: Readonly<Record<string, number>>,
): string {
  const { reconstruction, kl } = metrics;
  if (family === 'autoencoder') return `reconstruction ${reconstruction.toFixed(2)}`;
  const adversary =
    family === 'vae-gan'
      ? ` · features ${metrics[FEATURE_MISFIT].toFixed(2)} · discriminator ${metrics[DISCRIMINATION].toFixed(2)}`
      : '';
  const correlation = TOTAL_CORRELATION in metrics ? ` · TC ${metrics[TOTAL_CORRELATION].toFixed(2)}` : '';
  return `−ELBO ${(reconstruction + kl).toFixed(2)} = ${reconstruction.toFixed(2)} + KL ${kl.toFixed(2)}${correlation}${adversary}`;
}

/** Of an epoch that is over. */
export function describeEpoch(
  { family }: Pick<Configuration, 'family'>,
  { epoch, train: { reconstruction, kl }, validation, bound, activeUnits, latentSize }: EpochRecord,
): string {
  const isAutoencoder = family === 'autoencoder';
  const loss = isAutoencoder
    ? `reconstruction train ${reconstruction.toFixed(2)}, validation ${validation?.loss.toFixed(2)}`
    : `−ELBO train ${(reconstruction + kl).toFixed(2)}, validation ${validation?.loss.toFixed(2)} (KL ${validation?.kl.toFixed(2)})`;
  const weighted = bound === undefined ? '' : `, importance-weighted ${bound.toFixed(2)}`;
  return `epoch ${epoch}: ${loss}${weighted}, ${activeUnits} of ${latentSize} latent dimensions active`;
}
