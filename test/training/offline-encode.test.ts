import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningService, startService } from '../server/support/running-service.js';
import { elbo } from '../support/elbo.js';
import { encodeNpy } from '../support/npy.js';
import { npzArrays } from '../support/npz-arrays.js';
import { suiteDirectory, temporaryDirectory } from '../support/temporary-directory.js';

// elbo encode, reconstruct and sample beside the routes of the same names.

const shipped = fileURLToPath(new URL('../../models', import.meta.url));
const MNIST = join(shipped, 'mnist', '1');
const CONDITIONAL = join(shipped, 'mnist-conditional', '1');
const [COUNT, SIZE] = [7, 28 * 28];

const values = Float32Array.from({ length: COUNT * SIZE }, (_, i) => Math.abs(Math.sin(i / 40 + Math.floor(i / SIZE))));
const bytes = Buffer.from(values.buffer);
const newDirectory = suiteDirectory();
let file: string;
let server: RunningService;
beforeAll(async () => {
  file = join(newDirectory(), 'rows.npy');
  writeFileSync(file, encodeNpy({ type: 'f4', shape: [COUNT, 28, 28], values }));
  server = await startService(shipped, { maxBatch: 64 });
});
afterAll(() => server.close());

const posted = async (path: string, body: Buffer = bytes) =>
  (await request(server.url).post(path).set('content-type', 'application/octet-stream').send(body).expect(200)).body;

async function linesOf(args: readonly string[]): Promise<Record<string, number[]>[]> {
  const { stdout, code, stderr } = await elbo([...args, '--threads', '1']);
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describe('elbo encode', () => {
  test('gives the posteriors of POST /encode', async () => {
    const online = await posted('/encode?model=mnist');
    const offline = await linesOf(['encode', MNIST, file]);
    expect(offline.map(({ mean }) => mean)).toEqual(online.mean);
    expect(offline.map(({ log_variance }) => log_variance)).toEqual(online.log_variance);
    expect(offline.map(({ source, row }) => [source, row])).toEqual(
      Array.from({ length: COUNT }, (_, row) => [file, row]),
    );
  });

  test('of a conditional model takes the class', async () => {
    const online = await posted('/encode?model=mnist-conditional&label=4');
    const offline = await linesOf(['encode', CONDITIONAL, file, '--label', '4']);
    expect(offline.map(({ mean }) => mean)).toEqual(online.mean);
  });
});

describe('elbo reconstruct', () => {
  test('gives the items of POST /reconstruct, as an array of their shape', async () => {
    const out = join(temporaryDirectory(), 'again.npz');
    const { code } = await elbo(['reconstruct', CONDITIONAL, file, '--label', '4', '--threads', '1', '--out', out]);
    expect(code).toBe(0);
    const { x_mean, row } = await npzArrays(readFileSync(out));
    expect(x_mean.shape).toEqual([COUNT, 1, 28, 28]);
    expect(row.values).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const online = await posted('/reconstruct?model=mnist-conditional&label=4');
    expect(x_mean.values).toEqual(online.outputs.flat(3));
  });
});

describe('elbo sample', () => {
  test('draws the samples of POST /sample for the same seed, temperature and classes', async () => {
    const { body } = await request(server.url)
      .post('/sample?model=mnist-conditional&count=5&seed=11&temperature=0.7')
      .expect(200);
    const offline = await linesOf(['sample', CONDITIONAL, ...['--count', '5', '--seed', '11', '--temperature', '0.7']]);
    expect(offline.map(({ label }) => label)).toEqual(body.labels);
    expect(offline.map(({ latent }) => latent)).toEqual(body.latents);
    expect(offline.map(({ x_mean }) => x_mean)).toEqual(body.outputs.map((item: number[][][]) => item.flat(2)));
  });

  test('tells the seed that it drew, which gives the same again', async () => {
    const { stdout, stderr } = await elbo(['sample', MNIST, '--count', '2']);
    const [, seed = ''] = /^2 samples of seed (\d+)\n$/.exec(stderr) ?? [];
    expect((await elbo(['sample', MNIST, '--count', '2', '--seed', seed])).stdout).toBe(stdout);
  });

  test('draws a picture of them', async () => {
    const out = join(temporaryDirectory(), 'grid.png');
    const { code, stderr } = await elbo(['sample', MNIST, '--count', '5', '--seed', '3', '--out', out]);
    expect([code, stderr]).toEqual([0, `5 samples of seed 3: ${out}\n`]);
    const png = readFileSync(out);
    const grid = await sharp(png).metadata();
    expect([grid.width, grid.height]).toEqual([3 * 28 + 2 * 2, 2 * 28 + 2]);
    const { body } = await request(server.url).post('/sample?model=mnist&count=1&seed=3').expect(200);
    const first = sharp(png).extract({ left: 0, top: 0, width: 28, height: 28 });
    const data = await first.extractChannel(0).raw().toBuffer();
    const expected = body.outputs[0].flat(2).map((value: number) => Math.round(255 * value));
    expect(Array.from(data, (pixel, i) => Math.abs(pixel - expected[i])).every((difference) => difference <= 1)).toBe(
      true,
    );
  });

  test.each<[string[], RegExp]>([
    [[MNIST, '--count', '0'], /expected a whole number from 1 to 10000000/],
    [[MNIST, '--temperature', '-1'], /expected a number from 0 to 10/],
    [[MNIST, '--label', '1'], /--label is 1; expected none, since the model is not conditional/],
    [[CONDITIONAL, '--label', '10'], /--label is 10; expected 0 to 9/],
    [[MNIST, '--format', 'png'], /--format png goes to a file; expected --out FILE\.png/],
    [[join(shipped, 'none', '1')], /no such model version/],
  ])('refuses %j', async (args, expected) => {
    const cwd = temporaryDirectory();
    const { code, stdout, stderr } = await elbo(['sample', ...args], { cwd });
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(expected)]);
    expect(readdirSync(cwd)).toEqual([]);
  });
});
