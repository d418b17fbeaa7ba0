import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fixtureModel, VECTOR_INPUT, writeFixture } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25] };
  await writeFixture(store.directory, fixtureModel({ name: 'conditional', input: VECTOR_INPUT, condition }));
  running = await startService(store.directory, { workers: 2, maxBatch: 8, batchDelay: 3 });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const get = async (path: string) => (await request(running.url).get(`/v2/models/${path}`)).body;

describe('the configuration of a graph', () => {
  it('says in the words of Triton how it is served', async () => {
    expect(await get('grey:encoder/config')).toEqual({
      name: 'grey:encoder',
      platform: 'onnxruntime_onnx',
      backend: 'onnxruntime',
      version_policy: { all: {} },
      max_batch_size: 8,
      input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [1, 8, 8] }],
      output: [
        { name: 'mean', data_type: 'TYPE_FP32', dims: [4] },
        { name: 'log_variance', data_type: 'TYPE_FP32', dims: [4] },
      ],
      instance_group: [{ name: 'grey:encoder_0', kind: 'KIND_CPU', count: 2, gpus: [] }],
      dynamic_batching: { preferred_batch_size: [], max_queue_delay_microseconds: 3000, preserve_ordering: false },
    });
  });

  it.each(['grey', 'table:scorer', 'conditional:decoder', 'grey:encoder/versions/1'])(
    'has the tensors of the metadata without the rows: %s',
    async (path) => {
      const [metadata, configuration] = [await get(path), await get(`${path}/config`)];
      expect(configuration.name).toBe(metadata.name);
      for (const [tensors, configured] of [
        [metadata.inputs, configuration.input],
        [metadata.outputs, configuration.output],
      ]) {
        const expected = tensors.map(({ name, shape }: { name: string; shape: number[] }) => ({
          name,
          data_type: 'TYPE_FP32',
          dims: shape.slice(1),
        }));
        expect(configured).toEqual(expected);
      }
    },
  );

  it('has a group of workers for each GPU', async () => {
    const { service } = running;
    const provider = vi.spyOn(service, 'status', 'get').mockReturnValue({ ...service.status, provider: 'cuda' });
    const batching = { ...service.batching, workers: 3, devices: [1, 0] };
    const original = service.batching;
    Object.assign(service, { batching });
    try {
      const { instance_group: groups } = await get('grey:encoder/config');
      expect(groups).toEqual([
        { name: 'grey:encoder_0', kind: 'KIND_GPU', count: 2, gpus: [1] },
        { name: 'grey:encoder_1', kind: 'KIND_GPU', count: 1, gpus: [0] },
      ]);
    } finally {
      provider.mockRestore();
      Object.assign(service, { batching: original });
    }
  });

  it.each([
    ['nothing/config', 'nothing'],
    ['grey:encodes/config', 'grey:encoder, grey:decoder, grey:scorer'],
    ['grey/versions/9/config', '9'],
  ])('of %s is not there', async (path, part) => {
    const { status, body } = await request(running.url).get(`/v2/models/${path}`);
    expect([status, body]).toEqual([404, { error: expect.stringContaining(part) }]);
  });
});
