import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readManifest } from '@elbo/models';
import { describe, expect, test } from 'vitest';
import { encodeNpy } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const cli = fileURLToPath(new URL('../../training/bin/elbo.js', import.meta.url));

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function elbo(
  args: readonly string[],
  onStderr: (text: string, stop: () => void) => void = () => {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...args], { env: { PATH: process.env.PATH } });
    let stdout = '';
    let stderr = '';
    let stopped = false;
    const stop = () => {
      // A second Ctrl-C would end the process at once.
      if (!stopped) child.kill('SIGINT');
      stopped = true;
    };
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
      onStderr(stderr, stop);
    });
    child.on('error', reject).on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

const small = ['--preset', 'shapes-mlp', '--limit', '500', '--epochs', '2', '--threads', '1'];

describe('elbo', () => {
  test('train says once that the latent space has collapsed, while it goes on', async () => {
    const args = [...small, '--epochs', '4', '--set', 'objective.beta=500', '--set', 'kl_warm_up_fraction=0'];
    const { code, stderr } = await elbo(['train', ...args, '--out', temporaryDirectory()]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/epoch 4: .*, 0 of 12 latent dimensions active/);
    expect(stderr.match(/posterior collapse/g)).toHaveLength(1);
  });

  test('train, inspect and evaluate: from nothing to a measured model, with JSON as the last line', async () => {
    const out = temporaryDirectory();
    const trained = await elbo(['train', ...small, '--name', 'cli-test', '--out', out, '--seed', '3', '--json']);
    expect(trained.stderr).toMatch(
      /^epoch 1: −ELBO train [\d.]+, validation [\d.]+ \(KL [\d.]+\), \d+ of 12 latent dimensions active\n/,
    );
    expect(trained.stderr).not.toContain('\u001b');
    expect(trained.code).toBe(0);
    const result = JSON.parse(trained.stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(result).toMatchObject({ name: 'cli-test', version: '1', directory: join(out, 'cli-test', '1') });
    expect(existsSync(join(result.directory, 'preview.png'))).toBe(true);
    expect(readFileSync(join(result.directory, 'training-curves.svg'), 'utf8')).toMatch(/^<svg/);

    const inspected = await elbo(['inspect', result.directory, '--json']);
    const { manifest, graphs } = JSON.parse(inspected.stdout);
    expect(manifest.training.seed).toBe(3);
    expect(graphs.encoder.inputs).toEqual({ x: { dtype: 'float32', shape: ['N', 1, 32, 32] } });
    const text = await elbo(['inspect', join(result.directory, 'decoder.onnx')]);
    expect(text.stdout).toContain('x_mean float32 [N, 1, 32, 32]');

    const evaluate = ['evaluate', result.directory, '--threads', '1', '--json', '--metrics', 'elbo,active-units'];
    const evaluated = await elbo([...evaluate, '--limit', '500']);
    expect(evaluated.code).toBe(0);
    const { metrics } = JSON.parse(evaluated.stdout.trimEnd().split('\n').at(-1) ?? '');
    // The number that training recorded comes out again from the exported files.
    expect(metrics.test_negative_elbo.value).toBeCloseTo(result.metrics.test_negative_elbo.value, 4);
    const partial = await elbo([...evaluate, '--limit', '500', '--record']);
    expect(partial.stderr).toMatch(/^elbo: --record is for a whole part/);
    const recorded = await elbo([...evaluate, '--record']);
    const whole = JSON.parse(recorded.stdout.trimEnd().split('\n').at(-1) ?? '').metrics;
    expect(whole.test_active_units.examples).toBe(2000);
    const recordedManifest = await readManifest(result.directory);
    expect(recordedManifest.metrics).toMatchObject(whole);
    expect(recordedManifest.latent.aggregate_posterior).toMatchObject({ split: 'test', examples: 2000 });
    expect(recordedManifest.latent.traversal_ranges).toHaveLength(12);
    // The table: a heading, and a line for each dimension.
    expect(recorded.stdout).toMatch(/^dimension +KL in nats .*\n( +\d+ .* with \d+ *\n){12}/m);

    const own = await elbo([...evaluate, '--split', 'validation', '--limit', '500']);
    const validation = JSON.parse(own.stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(validation.metrics.validation_negative_elbo.value).toBeCloseTo(
      result.metrics.validation_negative_elbo.value,
      4,
    );
    expect(validation.latent.aggregate_posterior).toMatchObject({ split: 'validation', examples: 50 });
    const other = await elbo([...evaluate, '--split', 'validation']);
    expect(other.stderr).toMatch(/^elbo: --split validation: the training part of shapes is not the one/);
    expect(other.code).toBe(2);
  });

  test('evaluate measures a shipped model by what is known of shapes', async () => {
    const list = 'mig,sap,dci,linear-probe,knn';
    const { stdout, code } = await elbo([
      ...['evaluate', 'models/shapes/1', '--threads', '1', '--limit', '300', '--metrics', list, '--json'],
    ]);
    expect(code).toBe(0);
    const { metrics } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(Object.keys(metrics).sort()).toEqual([
      'test_dci_completeness',
      'test_dci_disentanglement',
      'test_dci_informativeness',
      'test_knn_accuracy',
      'test_linear_probe_accuracy',
      'test_mig',
      'test_sap',
    ]);
    expect(metrics.test_linear_probe_accuracy.protocol).toMatch(/of 260 training examples/);
  });

  test.each(['mig', 'sap', 'dci', 'factor-vae', 'linear-probe', 'knn'])(
    'evaluate refuses %s of data without factors or classes',
    async (metric) => {
      const directory = temporaryDirectory();
      const path = join(directory, 'images.npy');
      writeFileSync(path, encodeNpy({ type: 'u1', shape: [60, 32, 32], values: new Uint8Array(60 * 32 * 32).fill(9) }));
      const { code, stderr } = await elbo(['evaluate', 'models/shapes/1', '--dataset', path, '--metrics', metric]);
      expect(stderr).toMatch(
        /^elbo: metric [a-z-]+ needs the (factors that made each example, which only the data set shapes has|class of each example, which the data lack)\n$/,
      );
      expect(stderr).toContain(`metric ${metric} `);
      expect(code).toBe(2);
    },
  );

  test('a second run writes the next version', async () => {
    const out = temporaryDirectory();
    const args = ['train', ...small, '--out', out, '--json'];
    const versions = [await elbo(args), await elbo(args)].map(
      ({ stdout }) => JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '').version,
    );
    expect(versions).toEqual(['1', '2']);
  });

  test('SIGINT leaves a checkpoint that --resume continues', async () => {
    const out = temporaryDirectory();
    const args = ['train', ...small, '--epochs', '60', '--out', out];
    const interrupted = await elbo(args, (stderr, stop) => {
      if (stderr.includes('epoch 3:')) stop();
    });
    expect(interrupted.stderr).toContain('interrupted; the same command with --resume goes on from here');
    expect(interrupted.code).toBe(130);
    expect(existsSync(join(out, 'shapes', '1'))).toBe(false);
    const resumed = await elbo([...args, '--resume']);
    expect(resumed.code).toBe(0);
    expect(resumed.stderr).not.toContain('epoch 1:');
    expect(resumed.stderr).toContain('epoch 60:');
  });

  test.each([
    [[], /Usage: elbo/],
    [['bogus'], /unknown command 'bogus'/],
    [['train'], /--preset is missing; expected a name \(`elbo presets` lists them\), or --from MODEL/],
    [['train', '--preset', 'nope'], /preset "nope" is not known; there are: .*images-conv, .*mnist-conv, .*mnist-mlp/],
    [
      ['train', '--preset', 'shapes-mlp', '--epochs', '0'],
      /'--epochs <n>' argument '0' is invalid. expected a whole number from 1/,
    ],
    [['train', '--preset', 'shapes-mlp', '--seed', '-1'], /--seed/],
    [['train', '--preset', 'shapes-mlp', '--limit', '1e99'], /--limit/],
    [['train', '--preset', 'shapes-mlp', '--limit', '10'], /validation examples/],
    [
      ['train', '--preset', 'shapes-mlp', '--set', 'activation=sine'],
      /activation must be equal to one of the allowed values/,
    ],
    [
      ['train', '--preset', 'shapes-mlp', '--dataset', 'shape'],
      /dataset is "shape"; expected one of .* did you mean shapes\?/,
    ],
    [['train', '--preset', 'shapes-mlp', '--name', 'A B'], /name must match pattern/],
    [['train', '--preset', 'mnist-mlp', '--data-dir', '/nowhere'], /train-images-idx3-ubyte.gz/],
    [['train', '--preset', 'shapes-mlp', '--engine', 'abacus'], /Allowed choices are onnxruntime, tfjs/],
    [['evaluate', '/nowhere'], /no such model version/],
    [['evaluate', '/nowhere', '--metrics', 'elbo,beauty'], /expected some of elbo, nll, active-units/],
    [['evaluate', 'models/mnist/1', '--dataset', 'shapes'], /shapes has images of 1x32x32; mnist takes 1x28x28/],
    [['evaluate', '/nowhere', '--split', 'training'], /Allowed choices are validation, test/],
    [['inspect', '/nowhere'], /no such model version/],
    [['prune', '/nowhere'], /no such model version/],
    [['prune', 'models/mnist/1', '--threshold', '-1'], /expected a number of at least 0/],
    [['prune', 'models/shapes/1', '--limit', '500'], /shapes is not the data that shapes 1 was trained on/],
    [['train', '--preset', 'lenet-300-100', '--set', 'latent_size=3'], /--set latent_size=3: no such field/],
    [['train', '--preset', 'lenet-300-100', '--dataset', 'README.md'], /README.md/],
    [
      ['train', '--preset', 'shapes-mlp', '--set', 'dropout.kind=sparse', '--set', 'objective.importance_samples=5'],
      /dropout\.kind is sparse; expected none with 5 importance samples/,
    ],
    [['train', '--preset', 'shapes-mlp', '--limit', '500', '--out', 'package.json'], /EEXIST.*package.json|ENOTDIR/],
  ])('%j: exit code 2 and a line that says what is wrong', async (args, message) => {
    const { code, stderr, stdout } = await elbo(args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).not.toMatch(/\n\s+at /);
    if (args.length > 0) expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  test('train a small classifier, which is no model of a store, and prune a model that has nothing to prune', async () => {
    const out = temporaryDirectory();
    const args = ['--dataset', 'shapes', '--set', 'encoder.hidden=[8]', '--epochs', '2', '--limit', '200'];
    const trained = await elbo([
      'train',
      '--preset',
      'lenet-300-100',
      ...args,
      '--out',
      out,
      '--threads',
      '1',
      '--json',
    ]);
    expect(trained.stderr).toMatch(
      /^epoch 1: cross entropy train [\d.]+, validation [\d.]+, error [\d.]+ %, \d+ of 8216/,
    );
    expect(trained.code).toBe(0);
    const { directory, metrics, sparsity } = JSON.parse(trained.stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(directory).toBe(join(out, 'lenet-300-100', '1'));
    expect(metrics.test_error.examples).toBe(200);
    expect(sparsity.weights).toBe(1024 * 8 + 8 * 3);
    const evaluated = await elbo(['evaluate', directory]);
    expect(evaluated.stderr).toMatch(/no such model version/);
    expect(evaluated.code).toBe(2);

    const vae = ['train', ...small, '--out', out, '--set', 'dropout.kind=group', '--json'];
    const model = JSON.parse((await elbo(vae)).stdout.trimEnd().split('\n').at(-1) ?? '');
    const pruned = await elbo(['prune', model.directory, '--limit', '500', '--threads', '1', '--json']);
    expect(pruned.code).toBe(0);
    expect(pruned.stdout).toMatch(/weights +[\d,]+ → [\d,]+/);
    const result = JSON.parse(pruned.stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(result.directory).toBe(join(out, 'shapes', '2'));
    expect(result.speed).toHaveLength(2);
  });

  test('--resume-if-any begins where there is no checkpoint, and goes on where there is one', async () => {
    const out = temporaryDirectory();
    const args = ['train', ...small, '--epochs', '60', '--out', out, '--resume-if-any'];
    const interrupted = await elbo(args, (stderr, stop) => {
      if (stderr.includes('epoch 3:')) stop();
    });
    expect(interrupted.stderr).toContain('epoch 1:');
    expect(interrupted.code).toBe(130);
    const resumed = await elbo(args);
    expect(resumed.code).toBe(0);
    expect(resumed.stderr).not.toContain('epoch 1:');
    expect(resumed.stderr).toContain('epoch 60:');
    const both = await elbo([...args, '--resume']);
    expect(both.stderr).toContain("option '--resume-if-any' cannot be used with option '--resume'");
    expect(both.code).toBe(2);
  });

  test('--settings replaces fields of the preset, and --set those of the file', async () => {
    const file = join(temporaryDirectory(), 'settings.json');
    writeFileSync(file, '{"latent_size": 3, "activation": "relu"}');
    const args = [
      'train',
      ...small,
      '--out',
      temporaryDirectory(),
      '--settings',
      file,
      '--set',
      'latent_size=2',
      '--json',
    ];
    const { directory } = JSON.parse((await elbo(args)).stdout.trimEnd().split('\n').at(-1) ?? '');
    const { training } = await readManifest(directory);
    expect(training.configuration).toMatchObject({ latent_size: 2, activation: 'relu' });
  });

  test('settings that are not there, or not JSON, are refused', async () => {
    const file = join(temporaryDirectory(), 'settings.json');
    const args = ['train', ...small, '--out', temporaryDirectory(), '--settings', file];
    expect(await elbo(args)).toMatchObject({ code: 2, stderr: expect.stringContaining('settings.json') });
    writeFileSync(file, 'latent_size: 3');
    expect(await elbo(args)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^elbo: .*settings.json: not JSON/),
    });
  });

  test('--resume without a checkpoint is refused', async () => {
    const { code, stderr } = await elbo(['train', ...small, '--out', temporaryDirectory(), '--resume']);
    expect(stderr).toMatch(/^elbo: .*no checkpoint of this configuration and data to resume from\n$/);
    expect(code).toBe(2);
  });

  test('inspect refuses a file that is not an ONNX model', async () => {
    const path = join(temporaryDirectory(), 'fake.onnx');
    for (const content of ['', 'hello', Buffer.alloc(1000, 0xff)]) {
      writeFileSync(path, content);
      const { code, stderr } = await elbo(['inspect', path]);
      expect(stderr).toMatch(/^elbo: not an ONNX model: /);
      expect(code).toBe(2);
    }
  });
});
