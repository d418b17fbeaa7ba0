import { describe, expect, test } from 'vitest';
import { elbo } from '../support/elbo.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

// What `elbo train` says of models that are not plain VAEs.

const small = ['train', '--preset', 'shapes-mlp', '--limit', '500', '--epochs', '2', '--threads', '1'];
const set = (...assignments: readonly string[]) => assignments.flatMap((assignment) => ['--set', assignment]);
const AUTOENCODER = ['family=autoencoder', 'prior=gaussian-mixture', 'prior_components=5'];

describe('elbo train', () => {
  test('of an autoencoder speaks of its reconstruction, and of no ELBO, KL or collapse', async () => {
    const args = [...small, ...set(...AUTOENCODER, 'kl_warm_up_fraction=0'), '--out', temporaryDirectory()];
    const { code, stderr, stdout } = await elbo(args);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^epoch 1: reconstruction train [\d.]+, validation [\d.]+, \d+ of 12 latent dimensions active\n/,
    );
    expect(stdout).toMatch(/test_reconstruction [\d.]+ nats/);
    expect(stderr + stdout).not.toMatch(/ELBO|_elbo|KL|collapse/);
  });

  test('of a VAE-GAN measures the ELBO of pixels, and exports the last epoch', async () => {
    const network = ['encoder.hidden=[32]', 'decoder.hidden=[32]', 'discriminator.hidden=[32]'];
    const args = [...small, ...set('family=vae-gan', 'binarisation=none', ...network), '--out', temporaryDirectory()];
    const { code, stderr, stdout } = await elbo(args);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^epoch 1: −ELBO train [\d.]+, validation [\d.]+ \(KL [\d.]+\)/);
    expect(stderr).toContain('measuring and exporting the weights of epoch 2\n');
    expect(stdout).toMatch(/test_negative_elbo [\d.]+ nats/);
  });

  test('says how many steps were skipped and why', async () => {
    const args = [
      ...small,
      '--epochs',
      '1',
      ...set('optimiser.skip_gradient_norm=1e-6'),
      '--out',
      temporaryDirectory(),
    ];
    const { code, stderr } = await elbo(args);
    expect(code).toBe(0);
    const counts = [
      ...stderr.matchAll(/^(\d+) steps? before step \d+ skipped: gradient longer than optimiser.skip_gra/gm),
    ];
    expect(counts.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(4);
    expect(stderr).not.toContain('not finite');
  });

  test.each([
    [['family=gan'], /family must be equal to one of the allowed values: vae, autoencoder, vae-gan/],
    [['family=vae-gan'], /binarisation is dynamic; expected none for family vae-gan/],
    [['family=autoencoder'], /prior is standard-normal; expected gaussian-mixture/],
  ])('%j: exit code 2 and a line that says what is wrong', async (assignments, message) => {
    const { code, stderr } = await elbo([...small, ...set(...assignments), '--out', temporaryDirectory()]);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});
