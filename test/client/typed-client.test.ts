import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ElboClient, ElboError } from '@elbo/client';
import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { expectedDecoding, expectedMean } from '../server/support/fixture-models.js';
import { greyPng, pixelsOf } from '../server/support/pictures.js';
import {
  type FixtureStore,
  fixtureStore,
  type RunningService,
  startService,
} from '../server/support/running-service.js';

const PACKAGE = new URL('../../openapi/', import.meta.url);
const MODEL = { model: 'grey' };
const BYTES = Uint8Array.from({ length: 64 }, (_, i) => 4 * i);
const ITEM = Array.from(BYTES, (byte) => byte / 255);

let store: FixtureStore;
let running: RunningService;
let elbo: ElboClient;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory);
  elbo = new ElboClient({ baseUrl: running.url });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

describe('the package of the client', () => {
  it('has the types of openapi.json; npm run openapi --workspace server writes both anew', async () => {
    const { resolve } = createRequire(new URL('package.json', PACKAGE));
    const cli = join(dirname(resolve('openapi-typescript')), '..', 'bin', 'cli.js');
    const run = promisify(execFile)(
      process.execPath,
      [cli, 'openapi.json', '-o', 'src/schema.ts', '--default-non-nullable', 'false', '--check'],
      { cwd: fileURLToPath(PACKAGE) },
    );
    await expect(run).resolves.toBeDefined();
  });

  it('imports nothing that a browser lacks', async () => {
    const directory = new URL('dist/', PACKAGE);
    const scripts = (await readdir(directory)).filter((name) => name.endsWith('.js'));
    const sources = await Promise.all(scripts.map((name) => readFile(new URL(name, directory), 'utf8')));
    const imported = sources.flatMap((source) => [...source.matchAll(/\b(?:from|import)\s*\(?'([^']+)'/g)]);
    const packages = imported.map(([, name = '']) => name).filter((name) => !name.startsWith('./'));
    expect(new Set(packages)).toEqual(new Set(['openapi-fetch']));
  });
});

describe('the client', () => {
  it('encodes numbers, as float32 and as JSON, and image files', async () => {
    const png = await greyPng(BYTES, 8, 8);
    const answers = await Promise.all([
      elbo.encode(Float32Array.from([...ITEM, ...ITEM]), MODEL),
      elbo.encode({ inputs: [ITEM, ITEM] }, MODEL),
      elbo.encode([png, new Blob([new Uint8Array(png)])], MODEL),
    ]);
    const expected = expectedMean(store.grey, ITEM);
    for (const { model, mean, log_variance } of answers) {
      expect(model).toBe('grey');
      expect([mean.length, log_variance.length]).toEqual([2, 2]);
      for (const row of mean)
        for (const [j, value] of row.entries()) expect(value).toBeCloseTo(expected[j] ?? Number.NaN, 5);
    }
    expect((await elbo.encode(png, MODEL)).mean).toEqual(answers[2].mean.slice(0, 1));
  });

  it('decodes latents to a tensor, a picture or JSON', async () => {
    const latents = [
      [0.5, -1, 0, 2],
      [0, 0, 1, -0.25],
    ];
    const { data, shape } = await elbo.decode(Float32Array.from(latents.flat()), MODEL);
    expect(shape).toEqual([2, 1, 8, 8]);
    const expected = latents.flatMap((latent) => expectedDecoding(store.grey, latent));
    expect(data).toHaveLength(expected.length);
    for (const [i, value] of data.entries()) expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 5);

    const json = await elbo.decode({ latents }, { ...MODEL, as: 'json' });
    expect(Float32Array.from(json.outputs.flat(3) as number[])).toEqual(data);

    const picture = await elbo.decode({ latents: latents.slice(0, 1) }, { ...MODEL, as: 'png' });
    const { data: pixels } = await pixelsOf(Buffer.from(await picture.arrayBuffer()));
    for (const [i, pixel] of pixels.entries())
      expect(Math.abs(pixel - 255 * (data[i] ?? Number.NaN))).toBeLessThan(0.51);
  });

  it('samples, and the same for the same seed', async () => {
    const first = await elbo.sample({ ...MODEL, count: 3, seed: 7 });
    expect(first.shape).toEqual([3, 1, 8, 8]);
    expect(await elbo.sample({ ...MODEL, count: 3, seed: 7 })).toEqual(first);
    expect((await elbo.sample({ ...MODEL, count: 3, seed: 8 })).data).not.toEqual(first.data);
    const { seed, latents } = await elbo.sample({ ...MODEL, count: 3, seed: 7, as: 'json' });
    expect(seed).toBe(7);
    expect((await elbo.decode({ latents }, MODEL)).data).toEqual(first.data);
  });

  it('reconstructs, and walks from one item to another', async () => {
    const items = Float32Array.from([...ITEM, ...ITEM.toReversed()]);
    const reconstructed = await elbo.reconstruct(items, MODEL);
    const expected = expectedDecoding(store.grey, expectedMean(store.grey, ITEM));
    for (const [i, value] of expected.entries()) expect(reconstructed.data[i]).toBeCloseTo(value, 5);

    const path = await elbo.interpolate(items, { ...MODEL, steps: 5 });
    expect(path.shape).toEqual([5, 1, 8, 8]);
    expect(path.data.subarray(0, 64)).toEqual(reconstructed.data.subarray(0, 64));
    expect(path.data.subarray(-64)).toEqual(reconstructed.data.subarray(64));
  });

  it('scores, and says where the error is', async () => {
    const items = Float32Array.from([...ITEM, ...ITEM]);
    const { scores, threshold } = await elbo.anomalyScore(items, { ...MODEL, fpr: 0.05 });
    expect(scores).toHaveLength(2);
    for (const { score, is_anomaly } of scores) expect(is_anomaly).toBe(score > threshold);
    expect((await elbo.errorMap(items, MODEL)).shape).toEqual([2, 1, 8, 8]);
    expect((await elbo.errorMap(items, { ...MODEL, as: 'png' })).type).toBe('image/png');
  });

  it('lists models, and tells of one', async () => {
    const loaded = (await elbo.models()).map(({ name, version }) => `${name}/${version}`);
    expect(loaded.sort()).toEqual(['grey/1', 'grey/2', 'rgb/1', 'table/1']);
    const { input, versions } = await elbo.model('grey');
    expect(input.shape).toEqual([1, 8, 8]);
    expect(versions).toEqual(['1', '2']);
    expect((await elbo.model('grey', { version: '1' })).version).toBe('1');
  });

  it('gives every other route with its types', async () => {
    const { data } = await elbo.api.GET('/health/ready');
    expect(data?.status).toBe('ready');
    const { error, response } = await elbo.api.GET('/models/{name}', { params: { path: { name: 'absent' } } });
    expect(response.status).toBe(404);
    expect(error).toMatchObject({ code: 'MODEL_NOT_FOUND' });
  });

  it('sends its key, and headers beside it', async () => {
    const { key, entry } = makeApiKey('client');
    const apiKey = parseApiKey(entry);
    if (apiKey === undefined) throw new Error('no key');
    const closed = await startService(store.directory, { app: { security: { apiKeys: [apiKey] } } });
    onTestFinished(() => closed.close());
    const headers = new Headers({ 'x-request-id': 'of-the-test' });
    const withKey = new ElboClient({ baseUrl: closed.url, apiKey: key, headers });
    expect(await withKey.models()).toHaveLength(4);
    const refused = await errorOf(new ElboClient({ baseUrl: closed.url, headers }).sample());
    expect(refused).toMatchObject({ status: 401, problem: { code: 'UNAUTHORIZED' }, requestId: 'of-the-test' });
  });
});

describe('errors of the client', () => {
  it('carry the problem', async () => {
    const wrongSize = await errorOf(elbo.encode(new Float32Array(63), MODEL));
    expect(wrongSize).toMatchObject({ status: 422, problem: { code: 'INVALID_INPUT' } });
    expect(wrongSize.message).toContain(wrongSize.problem?.detail);
    // An answer in another form than JSON has its problem as JSON.
    const noModel = await errorOf(elbo.decode({ latents: [[0]] }, { model: 'absent', as: 'png' }));
    expect(noModel).toMatchObject({ status: 404, problem: { code: 'MODEL_NOT_FOUND' } });
    expect(noModel.requestId).toMatch(/./);
  });

  it('of what is before the service have no problem', async () => {
    const proxy = createServer((_request, response) => {
      response.writeHead(503, { 'content-type': 'text/html', 'retry-after': '7' }).end('<h1>Service Unavailable</h1>');
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    onTestFinished(() => {
      proxy.close();
    });
    const baseUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const error = await errorOf(new ElboClient({ baseUrl }).sample());
    expect(error).toMatchObject({ status: 503, problem: undefined, retryAfter: 7 });
    expect(error.message).toContain(baseUrl);
  });

  it('name what is no item', async () => {
    const numbers = [0.5, 0.25] as unknown as Uint8Array[];
    await expect(elbo.encode(numbers, MODEL)).rejects.toThrow(/item 0 of the list is no file; expected Blobs/);
  });

  it("of a signal are the signal's", async () => {
    const signal = AbortSignal.abort();
    await expect(elbo.sample({ ...MODEL, signal })).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
  });
});

async function errorOf(answer: Promise<unknown>): Promise<ElboError> {
  const error = await answer.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ElboError)) throw new Error(`expected an ElboError, got ${String(error)}`);
  return error;
}
