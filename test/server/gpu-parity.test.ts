import { fileURLToPath } from 'node:url';
import { listModels, RandomSource, readModel } from '@elbo/models';
import { goldenInput, type ModelCall, type ServedModel, servedModel } from '@elbo/server/inference/model';
import { GraphSession } from '@elbo/server/inference/onnxruntime';
import type { Provider } from '@elbo/server/inference/provider';
import { inputTensors } from '@elbo/server/inference/rows';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { absenceOf, GPU_PROVIDERS, type GpuProvider } from '../support/gpu.js';
import { type RunningService, startService } from './support/running-service.js';

const STORE = fileURLToPath(new URL('../../models', import.meta.url));
/** Of a number or of 1, whichever is larger. */
const TOLERANCE = 1e-3;
/** Shaders are compiled while a session runs for the first time, which takes a software adapter minutes. */
const TIMEOUT = 900_000;
const RANDOM_ROWS = 15;

const models = await Promise.all(
  (await listModels(STORE)).map(async ({ directory }) => servedModel(await readModel(directory))),
);

/** The golden input, then noise: over the value range, of falling contrast, for a decoder standard normal. */
function rowsOf(model: ServedModel, call: ModelCall): Float32Array {
  const { input } = model.manifest;
  const [low, high] = input.value_range;
  const random = new RandomSource(1);
  const rows = goldenInput(model, call, 1 + RANDOM_ROWS);
  const size = call.role === 'decoder' ? model.latentSize : model.itemSize;
  for (let row = 1; row <= RANDOM_ROWS; row++) {
    const contrast = 1 / row;
    const item = rows.subarray(row * call.rowSize, row * call.rowSize + size);
    if (call.role === 'decoder') random.fillNormal(item);
    else for (let i = 0; i < size; i++) item[i] = low + (high - low) * contrast * random.uniform();
    const labels = rows.subarray(row * call.rowSize + size, (row + 1) * call.rowSize).fill(0);
    if (labels.length > 0) labels[row % labels.length] = 1;
  }
  return rows;
}

async function outputsOf(provider: Provider, model: ServedModel, call: ModelCall, data: Float32Array) {
  const session = await GraphSession.load(new Uint8Array(model.graphs[call.role]), { provider, threads: 1 });
  try {
    return await session.run(inputTensors(call.inputs, data, data.length / call.rowSize), call.outputs);
  } finally {
    await session.release();
  }
}

/** The largest difference of two lists of numbers, each of the expected number or of 1. */
function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const off = Math.abs((actual[i] ?? Number.NaN) - (expected[i] ?? Number.NaN));
    largest = Math.max(largest, off / Math.max(1, Math.abs(expected[i] ?? 0)));
  }
  return largest;
}

/** Holds two answers against each other: numbers to the tolerance, all else exactly. */
function expectAlike(actual: unknown, expected: unknown, at: string): void {
  if (typeof expected === 'number') {
    // A p-value is a rank among held-out scores, which moves by whole places.
    const tolerance = at.endsWith('p_value') ? 5 * TOLERANCE : TOLERANCE;
    expect(difference([actual as number], [expected]), at).toBeLessThanOrEqual(tolerance);
  } else if (typeof expected === 'object' && expected !== null) {
    expect(Object.keys(actual as object), at).toEqual(Object.keys(expected));
    for (const [key, value] of Object.entries(expected)) {
      expectAlike((actual as Record<string, unknown>)[key], value, `${at}.${key}`);
    }
  } else {
    expect(actual, at).toEqual(expected);
  }
}

for (const provider of GPU_PROVIDERS) {
  const absence = absenceOf(provider);
  if (absence !== undefined) {
    // Found by trying a session; its reason is in the name.
    test.skip(`${provider} is not here: ${absence}`, () => {});
    continue;
  }
  describe(`on ${provider}`, () => {
    test.each(models)('the graphs of $key give what they give on the CPU', { timeout: TIMEOUT }, async (model) => {
      for (const call of Object.values(model.calls)) {
        const data = rowsOf(model, call);
        const expected = await outputsOf('cpu', model, call, data);
        const actual = await outputsOf(provider, model, call, data);
        for (const name of call.outputs) {
          const at = `${call.role} ${name}`;
          expect(expected[name]?.data.every(Number.isFinite), at).toBe(true);
          expect(actual[name]?.dims, at).toEqual(expected[name]?.dims);
          expect(difference(actual[name]?.data ?? [], expected[name]?.data ?? [Number.NaN]), at).toBeLessThanOrEqual(
            TOLERANCE,
          );
        }
      }
    });

    describeServer(provider);
  });
}

function describeServer(provider: GpuProvider): void {
  describe('the service', () => {
    let cpu: RunningService;
    let gpu: RunningService;
    beforeAll(async () => {
      cpu = await startService(STORE, { provider: 'cpu', workers: 1 });
      gpu = await startService(STORE, { provider, workers: 1 });
    }, TIMEOUT);
    afterAll(() => Promise.all([cpu, gpu].map((service) => service?.close())));

    test('serves every model there, each golden output as recorded', async () => {
      expect(gpu.log.filter((line) => !line.startsWith('loaded '))).toEqual([]);
      const { body } = await request(gpu.url).get('/health/ready').expect(200);
      expect(body).toMatchObject({ provider, models: expect.arrayContaining(models.map(({ key }) => key)) });
      expect(body).not.toHaveProperty('provider_note');
    });

    test.each(models)('answers alike about $key', { timeout: TIMEOUT }, async (model) => {
      const { calls, manifest } = model;
      const items = rowsOf(model, calls.encode);
      const inputs = [0, 1, 2, 3, 4].map((row) => [
        ...items.subarray(row * calls.encode.rowSize, row * calls.encode.rowSize + model.itemSize),
      ]);
      const latents = [0, 1, 2].map((row) => [
        ...rowsOf(model, calls.decode).subarray(
          row * calls.decode.rowSize,
          row * calls.decode.rowSize + model.latentSize,
        ),
      ]);
      const labels = (count: number) =>
        manifest.condition === undefined ? {} : { labels: Array.from({ length: count }, (_, i) => i) };
      const bodies: Readonly<Record<string, object>> = {
        '/encode': { inputs, ...labels(5) },
        '/reconstruct': { inputs, ...labels(5) },
        '/anomaly-score': { inputs, ...labels(5) },
        '/decode': { latents, ...labels(3) },
        '/interpolate': { inputs: inputs.slice(0, 2), steps: 3 },
        '/sample': { count: 5, seed: 3 },
      };
      const oneClass = manifest.condition === undefined ? '' : '&label=2';
      for (const [route, body] of Object.entries(bodies)) {
        const label = 'labels' in body ? '' : oneClass;
        const [expected, actual] = await Promise.all(
          [cpu, gpu].map(({ url }) =>
            request(url).post(`${route}?model=${manifest.name}&version=${manifest.version}${label}`).send(body),
          ),
        );
        expect(expected?.status, `${route}: ${expected?.text.slice(0, 300)}`).toBe(200);
        expectAlike(actual?.body, expected?.body, route);
      }
    });
  });
}
