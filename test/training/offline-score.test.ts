import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RandomSource } from '@elbo/models';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { greyPng } from '../server/support/pictures.js';
import { type RunningService, startService } from '../server/support/running-service.js';
import { elbo } from '../support/elbo.js';
import { encodeNpy } from '../support/npy.js';
import { suiteDirectory, temporaryDirectory } from '../support/temporary-directory.js';

const shipped = fileURLToPath(new URL('../../models', import.meta.url));
const MODEL = join(shipped, 'mnist', '1');
const SIZE = 28 * 28;

interface Scored {
  readonly source: string;
  readonly row: number;
  readonly score: number;
  readonly p_value: number;
  readonly is_anomaly: boolean;
  readonly components: Readonly<Record<string, number>>;
}

const linesOf = (text: string): Scored[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

const newDirectory = suiteDirectory();
let server: RunningService;
beforeAll(async () => {
  server = await startService(shipped, { maxBatch: 64, maxQueue: 16_384, bodyLimit: 64 << 20 });
});
afterAll(() => server.close());

async function served(body: Buffer, type: string, query = 'model=mnist'): Promise<Scored[]> {
  const { body: answer } = await request(server.url)
    .post(`/anomaly-score?${query}`)
    .set('content-type', type)
    .send(body)
    .expect(200);
  return answer.scores;
}

describe('elbo score gives the numbers of the service', () => {
  test('10,000 rows of an array', async () => {
    const count = 10_000;
    const random = new RandomSource(5);
    // Smooth enough that scores differ much, and of values that bytes do not hold.
    const values = Float32Array.from(
      { length: count * SIZE },
      (_, i) => Math.abs(Math.sin((i % SIZE) / (3 + (Math.floor(i / SIZE) % 50)))) * (random.integer(1000) / 999),
    );
    const directory = newDirectory();
    const file = join(directory, 'rows.npy');
    writeFileSync(file, encodeNpy({ type: 'f4', shape: [count, 28, 28], values }));
    const { stdout, stderr, code } = await elbo(['score', MODEL, file, '--threads', '1']);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/^10000 scored, \d+ called anomalous at .* of 0\.01\n$/)]);
    const offline = linesOf(stdout);
    expect(offline.map(({ source, row }) => [source, row])).toEqual(
      Array.from({ length: count }, (_, row) => [file, row]),
    );
    const online = await served(Buffer.from(values.buffer), 'application/octet-stream');
    expect(offline.map(({ source, row, ...scored }) => scored)).toEqual(online);
    expect(new Set(online.map(({ score }) => score)).size).toBeGreaterThan(count / 2);
  });

  test('images one by one, in a folder, and rows at another false-positive rate', async () => {
    const directory = newDirectory();
    const pictures = [];
    for (const [i, size] of [28, 50, 9].entries()) {
      const png = await greyPng(
        Uint8Array.from({ length: size * size }, (_, at) => (at * (i + 3)) % 256),
        size,
        size,
      );
      writeFileSync(join(directory, `${i}.png`), png);
      pictures.push(png);
    }
    const one = join(directory, '1.png');
    const { stdout, code } = await elbo(['score', MODEL, directory, one, '--fpr', '0.2', '--threads', '1']);
    expect(code).toBe(0);
    const online = [];
    for (const png of [...pictures, pictures[1]]) {
      online.push(...(await served(png, 'image/png', 'model=mnist&fpr=0.2')));
    }
    const offline = linesOf(stdout);
    expect(offline.map(({ source, row, ...scored }) => scored)).toEqual(online);
    expect(offline.map(({ source }) => source)).toEqual([...[0, 1, 2].map((i) => `${directory}/${i}.png`), one]);
  });

  test('a conditional model, by the class of all rows', async () => {
    const file = join(newDirectory(), 'rows.npy');
    const values = Float32Array.from({ length: 5 * SIZE }, (_, i) => (i % 7) / 7);
    writeFileSync(file, encodeNpy({ type: 'f4', shape: [5, 28, 28], values }));
    const model = join(shipped, 'mnist-conditional', '1');
    const { stdout } = await elbo(['score', model, file, '--label', '3', '--threads', '1']);
    const online = await served(
      Buffer.from(values.buffer),
      'application/octet-stream',
      'model=mnist-conditional&label=3',
    );
    expect(linesOf(stdout).map(({ source, row, ...scored }) => scored)).toEqual(online);
  });
});

describe('bad input ends with exit code 2 and one line, and leaves no file', () => {
  const rows = (values: readonly number[], shape: readonly number[]) => encodeNpy({ type: 'f4', shape, values });
  const dark = (last: number) => [...new Array<number>(2 * SIZE - 1).fill(0), last];

  test.each<[string, Record<string, Buffer>, string[], RegExp]>([
    ['no such file', {}, ['absent.npy'], /absent\.npy: cannot be read \(ENOENT/],
    [
      'another shape',
      { 'a.npy': rows([1, 2], [1, 2]) },
      ['a.npy'],
      /a\.npy: an example is of shape \[2\]; expected \[1, 28, 28\]/,
    ],
    [
      'a number out of range',
      { 'a.npy': rows(dark(1.5), [2, 28, 28]) },
      ['a.npy'],
      /a\.npy: row 1, number 783 \(from 0\) is 1\.5; expected 0 to 1/,
    ],
    ['NaN', { 'a.npy': rows(dark(Number.NaN), [2, 28, 28]) }, ['a.npy'], /a\.npy: .*row 1, feature 783 .* is NaN/],
    ['an image that is none', { 'a.png': Buffer.from('nothing at all') }, ['a.png'], /a\.png is not a PNG/],
    [
      'a label of a model without',
      { 'a.npy': rows(dark(1), [2, 28, 28]) },
      ['a.npy', '--label', '1'],
      /expected none, since the model is not conditional/,
    ],
    [
      'a rate that cannot be stated',
      { 'a.npy': rows(dark(1), [2, 28, 28]) },
      ['a.npy', '--fpr', '0.000001'],
      /false_positive_rate 0\.000001 cannot be stated from 3000/,
    ],
    ['a rate that is none', {}, ['a.npy', '--fpr', '2'], /expected a number above 0 and below 1/],
    ['arrays for a terminal', {}, ['a.npy', '--format', 'npz'], /expected --out FILE\.npz/],
  ])('%s', async (_, files, args, expected) => {
    const cwd = temporaryDirectory();
    for (const [name, content] of Object.entries(files)) writeFileSync(join(cwd, name), content);
    const out = args.includes('npz') ? [] : ['--out', 'scores.csv'];
    const { code, stdout, stderr } = await elbo(['score', MODEL, ...args, ...out], { cwd });
    expect(stderr).toMatch(expected);
    expect([code, stdout, stderr.trimEnd().split('\n').length]).toEqual([2, '', 1]);
    expect(readdirSync(cwd).sort()).toEqual(Object.keys(files).sort());
  });

  test('rows without a class for a conditional model', async () => {
    const cwd = temporaryDirectory();
    writeFileSync(join(cwd, 'a.npy'), rows(dark(1), [2, 28, 28]));
    const { code, stderr } = await elbo(['score', join(shipped, 'mnist-conditional', '1'), 'a.npy'], { cwd });
    expect([code, stderr]).toEqual([2, expect.stringMatching(/expected --label N, one of the model's 10 classes/)]);
  });
});

test('a table of results goes to a file by its name, in a folder that is made', async () => {
  const cwd = temporaryDirectory();
  writeFileSync(join(cwd, 'a.npy'), encodeNpy({ type: 'u1', shape: [3, 28, 28], values: new Uint8Array(3 * SIZE) }));
  const { code, stdout, stderr } = await elbo(['score', MODEL, 'a.npy', '--out', 'results/scores.csv'], { cwd });
  expect([code, stdout]).toEqual([0, '']);
  expect(stderr).toMatch(/^3 scored, 3 called anomalous .*: results\/scores\.csv\n$/);
  const [header, first] = readFileSync(join(cwd, 'results', 'scores.csv'), 'utf8').split('\n');
  expect(header).toBe(
    [
      ...['source', 'row', 'score', 'p_value', 'is_anomaly', 'components.reconstruction'],
      ...['components.reconstruction_peak', 'components.kl', 'components.nats_by_contrast'],
      ...['components.nats_by_variation', 'components.mahalanobis', 'components.posterior_scale'],
      'components.latent_density',
    ].join(),
  );
  expect(first).toMatch(/^a\.npy,0,[\d.]+,[\d.]+,true,/);
});
