import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { elbo as runElbo } from '../support/elbo.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const shapes = join(root, 'models', 'shapes', '1');
const mnist = join(root, 'models', 'mnist', '1');

const elbo = (args: readonly string[], cwd = root) => runElbo([...args, '--threads', '1'], { cwd });

test('elbo report writes a page into the current directory, with JSON as the last line', async () => {
  const directory = temporaryDirectory();
  const { code, stdout, stderr } = await elbo(['report', shapes, '--limit', '50', '--json'], directory);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
    name: 'shapes',
    version: '1',
    examples: 50,
  });
  expect(existsSync(join(directory, 'shapes-1-report.html'))).toBe(true);
});

test('elbo report without the data set says so and writes the page all the same', async () => {
  const out = join(temporaryDirectory(), 'page.html');
  const { code, stderr } = await elbo(['report', mnist, '--data-dir', '/nowhere', '--out', out]);
  expect(stderr).toMatch(/train-images-idx3-ubyte.*--data-dir DIR.*the page is without the parts that need data\n$/);
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(code).toBe(0);
  expect(existsSync(out)).toBe(true);
});

test('elbo report makes the folder of the page', async () => {
  const out = join(temporaryDirectory(), 'reports', 'shapes', 'page.html');
  const { code, stderr } = await elbo(['report', shapes, '--limit', '20', '--out', out]);
  expect([code, stderr]).toEqual([0, '']);
  expect(existsSync(out)).toBe(true);
});

test.each([
  [['report'], /missing required argument 'model'/],
  [['report', '/nowhere'], /no such model version/],
  [['report', shapes, '--limit', '0'], /expected a whole number from 1/],
  [
    ['report', shapes, '--limit', '20', '--out', join(root, 'README.md', 'page.html')],
    /(?:EEXIST|ENOTDIR).*README\.md/,
  ],
  [['report', shapes, '--limit', '20', '--out', join(root, 'models')], /EISDIR/],
  [['report', mnist, '--dataset', 'shapes'], /shapes has images of 1x32x32; mnist takes 1x28x28/],
  [['report', mnist, '--dataset', 'mnist', '--data-dir', '/nowhere'], /train-images-idx3-ubyte.gz/],
])('%j: exit code 2 and a line that says what is wrong', async (args, message) => {
  const { code, stderr, stdout } = await elbo(args);
  expect(stderr).toMatch(message);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
});
