import { createReadStream, existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { dataDirectory } from '../support/data-directory.js';
import { elbo } from '../support/elbo.js';
import { encodeNpy } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** A mirror of a directory, or of nothing. */
async function serve(directory: string): Promise<string> {
  const server = createServer(({ url = '' }, response) => {
    const path = join(directory, url);
    if (existsSync(path)) createReadStream(path).pipe(response);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('elbo datasets', () => {
  test('lists names with a line about each, and says that paths work', async () => {
    const { stdout, code } = await elbo(['datasets']);
    expect(stdout).toMatch(/^mnist +70,000 handwritten digits.*\(elbo fetch mnist\)$/m);
    expect(stdout).toMatch(/^shapes +12,000 sprites/m);
    expect(stdout).toMatch(/^In place of a name: the path of a \.npy, \.npz, \.csv or IDX/m);
    expect(code).toBe(0);
    const { stdout: json } = await elbo(['datasets', '--json']);
    expect(JSON.parse(json).map(({ name }: { name: string }) => name)).toEqual(['mnist', 'fashion-mnist', 'shapes']);
  });
});

describe('elbo fetch', () => {
  test.each([
    [
      ['fetch', 'mnits'],
      /^elbo: "mnits" cannot be fetched; expected one of mnist, fashion-mnist; did you mean mnist\?\n$/,
    ],
    [['fetch', 'shapes'], /^elbo: shapes is generated: there is nothing to fetch\n$/],
    [
      ['fetch', 'mnist', '--mirror', 'nonsense'],
      /^elbo: mirror is "nonsense\/mnist\/"; expected an http or https URL\n$/,
    ],
    [['fetch', 'mnist', '--timeout', '0'], /expected a whole number from 1 to 86400/],
  ])('%j: exit code 2 and one line', async (args, expected) => {
    const { code, stderr, stdout } = await elbo([...args, '--data-dir', temporaryDirectory()]);
    expect(stderr).toMatch(expected);
    expect([code, stdout]).toEqual([2, '']);
  });

  test('names the mirror and the file that it did not get', async () => {
    const url = await serve(temporaryDirectory());
    const { code, stderr } = await elbo(['fetch', 'mnist', '--mirror', url, '--data-dir', temporaryDirectory()]);
    expect(stderr).toBe(
      `elbo: mnist: train-images-idx3-ubyte.gz could not be fetched: ${url}/mnist/train-images-idx3-ubyte.gz: HTTP status 404\n`,
    );
    expect(code).toBe(2);
  });

  const dataDir = dataDirectory();
  test.skipIf(dataDir === undefined)('fetches what can then be trained on (needs a data directory)', async () => {
    const url = await serve(dataDir ?? '');
    const target = temporaryDirectory();
    const fetched = await elbo(['fetch', 'mnist', '--mirror', url, '--data-dir', target, '--json']);
    expect(fetched.code).toBe(0);
    expect(JSON.parse(fetched.stdout.trimEnd().split('\n').at(-1) ?? '').downloaded).toHaveLength(4);
    const trained = await elbo([
      'train',
      '--preset',
      'mnist-mlp',
      '--data-dir',
      target,
      '--limit',
      '500',
      '--epochs',
      '1',
      '--out',
      join(target, 'models'),
    ]);
    expect(trained.code).toBe(0);
  });
});

describe('elbo train by path', () => {
  test('trains on a file of images, and evaluates on its test part', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'pictures.npy');
    const values = Array.from({ length: 500 * 64 }, (_, i) => ((i % 64) * 7 + Math.floor(i / 64)) % 256);
    writeFileSync(path, encodeNpy({ type: 'u1', shape: [500, 8, 8], values }));
    const out = join(directory, 'models');
    const trained = await elbo([
      'train',
      '--preset',
      'shapes-mlp',
      '--dataset',
      path,
      '--epochs',
      '1',
      '--out',
      out,
      '--name',
      'pictures',
    ]);
    expect(trained.stderr).toMatch(/^epoch 1/);
    expect(trained.code).toBe(0);
    const evaluated = await elbo(['evaluate', join(out, 'pictures', '1')]);
    expect(evaluated.stdout).toContain('(50 examples;');
  });

  test.each([
    [
      ['--dataset', 'absent.npy'],
      /^elbo: dataset is "absent\.npy"; expected a name \(mnist, fashion-mnist, shapes\) or an existing path/,
    ],
    [['--image-size', '0x5'], /expected height x width in pixels, such as 64x64/],
    [['--image-size', '64'], /expected height x width in pixels, such as 64x64/],
  ])('%j: exit code 2 and one line', async (args, expected) => {
    const { code, stderr } = await elbo(['train', '--preset', 'shapes-mlp', ...args]);
    expect(stderr).toMatch(expected);
    expect(code).toBe(2);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});
