import { type ClientRequest, request as httpRequest } from 'node:http';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  expectedDecoding,
  expectedLogVariance,
  expectedMean,
  type FixtureModel,
  fixtureModel,
  VECTOR_INPUT,
  writeFixture,
} from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
let conditional: FixtureModel;
const items = [0.25, 0.75].map((value) => Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? value : 1 - value)));

beforeAll(async () => {
  store = await fixtureStore();
  const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25] };
  conditional = fixtureModel({ name: 'conditional', input: VECTOR_INPUT, condition });
  await writeFixture(store.directory, conditional);
  const columns = [0, 1, 2, 3, 4].map((i) => ({
    name: `c${i}`,
    kind: 'numeric' as const,
    ...(i === 1 && { missing: true as const }),
  }));
  await writeFixture(
    store.directory,
    fixtureModel({ name: 'gaps', input: { kind: 'vector', shape: [5], value_range: [-10, 10], columns } }),
  );
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

interface Output {
  readonly name: string;
  readonly shape: number[];
  readonly datatype: string;
  readonly data: number[];
  readonly parameters?: { readonly binary_data_size: number };
}

const x = (data: readonly (readonly number[])[] = items) => ({
  name: 'x',
  shape: [data.length, 1, 8, 8],
  datatype: 'FP32',
  data: data.flat(),
});
const infer = (path: string, body: object) => request(running.url).post(`/v2/models/${path}/infer`).send(body);
const outputsOf = (body: { outputs: Output[] }): Record<string, Output> =>
  Object.fromEntries(body.outputs.map((output) => [output.name, output]));

/** A request whose answer comes as bytes. */
const raw = (path: string, body: Buffer, headers: Record<string, string>) =>
  request(running.url)
    .post(`/v2/models/${path}/infer`)
    .set({ 'content-type': 'application/octet-stream', ...headers })
    .buffer(true)
    .parse((response, done) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => done(null, Buffer.concat(chunks)));
    })
    .send(body);

function closeTo(values: readonly number[] | undefined, expected: readonly number[]): void {
  expect(values).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(values?.[i]).toBeCloseTo(value, 5);
}

describe('metadata', () => {
  it('of the server names its extensions', async () => {
    const { body } = await request(running.url).get('/v2');
    expect(body).toEqual({
      name: 'elbo',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      extensions: ['binary_tensor_data', 'model_configuration', 'model_repository', 'statistics'],
    });
  });

  it.each(['/v2/health/live', '/v2/health/ready', '/v2/models/grey/ready', '/v2/models/grey:decoder/versions/1/ready'])(
    '%s is 200',
    async (path) => {
      const { status, body } = await request(running.url).get(path);
      expect(status).toBe(200);
      expect(body.live ?? body.ready).toBe(true);
    },
  );

  it('of a graph has its tensors, with any number of rows', async () => {
    const { body } = await request(running.url).get('/v2/models/grey:encoder');
    expect(body).toEqual({
      name: 'grey:encoder',
      versions: ['1', '2'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 1, 8, 8] }],
      outputs: [
        { name: 'mean', datatype: 'FP32', shape: [-1, 4] },
        { name: 'log_variance', datatype: 'FP32', shape: [-1, 4] },
      ],
    });
    const decoder = await request(running.url).get('/v2/models/conditional:decoder/versions/1');
    expect(decoder.body.inputs).toEqual([
      { name: 'z', datatype: 'FP32', shape: [-1, 4] },
      { name: 'label', datatype: 'FP32', shape: [-1, 3] },
    ]);
  });

  it("of a model's name is that of its scorer, with the separator encoded or not", async () => {
    const of = async (path: string) => (await request(running.url).get(`/v2/models/${path}`)).body;
    const { name, ...scorer } = await of('table:scorer');
    expect(scorer.outputs.map((output: Output) => output.name)).toEqual([
      'score',
      'reconstruction',
      'norm',
      'error_map',
      'x_mean',
      'p_value',
    ]);
    expect(await of('table%3Ascorer')).toEqual({ name, ...scorer });
    expect(await of('table')).toEqual({ name: 'table', ...scorer });
  });
});

describe('infer', () => {
  it('encodes, in the latest version or the one that is named', async () => {
    const { status, body } = await infer('grey:encoder', { id: 'seven', inputs: [x()] });
    expect(status).toBe(200);
    expect(body).toMatchObject({ model_name: 'grey:encoder', model_version: '2', id: 'seven' });
    const { mean, log_variance } = outputsOf(body);
    expect(mean).toMatchObject({ datatype: 'FP32', shape: [2, 4] });
    closeTo(
      mean?.data,
      items.flatMap((item) => expectedMean(store.grey, item)),
    );
    closeTo(
      log_variance?.data,
      items.flatMap((item) => expectedLogVariance(store.grey, item)),
    );
    const first = await infer('grey:encoder/versions/1', { inputs: [x()] });
    expect(first.body.model_version).toBe('1');
    expect(first.body).not.toHaveProperty('id');
    expect(outputsOf(first.body).mean?.data).not.toEqual(mean?.data);
  });

  it('decodes', async () => {
    const z = { name: 'z', shape: [1, 4], datatype: 'FP64', data: [[0.5, -1, 2, 0]] };
    const { body } = await infer('grey%3Adecoder', { inputs: [z] });
    expect(body.outputs[0].shape).toEqual([1, 1, 8, 8]);
    closeTo(body.outputs[0].data, expectedDecoding(store.grey, [0.5, -1, 2, 0]));
  });

  it('scores as /anomaly-score does, and is watched for drift', async () => {
    const { body } = await infer('grey', { inputs: [x()] });
    const outputs = outputsOf(body);
    const scored = await request(running.url).post('/anomaly-score?model=grey').send({ inputs: items });
    const column = (name: string) => scored.body.scores.map((score: Record<string, number>) => score[name]);
    expect(outputs.score?.data).toEqual(column('score'));
    expect(outputs.p_value?.data).toEqual(column('p_value').map(Math.fround));
    expect(outputs.norm?.data).toEqual(
      scored.body.scores.map(({ components }: { components: Record<string, number> }) => components.norm),
    );
    expect(outputs.error_map?.shape).toEqual([2, 1, 8, 8]);
    const text = await request(running.url).get('/metrics');
    expect(text.text).toContain('elbo_anomaly_p_value_count{model="grey",version="2"} 4');
  });

  it('gives the outputs that were asked for, in that order', async () => {
    const names = ['p_value', 'score'];
    const { body } = await infer('table', {
      inputs: [{ name: 'x', shape: [1, 5], datatype: 'INT8', data: [1, 2, 3, 4, 5] }],
      outputs: names.map((name) => ({ name })),
    });
    expect(body.outputs.map(({ name }: Output) => name)).toEqual(names);
    expect(body.outputs.map(({ shape }: Output) => shape)).toEqual([[1], [1]]);
  });

  it('takes the label of a conditional model as a second input', async () => {
    const item = [1, 2, 3, 4, 5];
    const given = { name: 'x', shape: [2, 5], datatype: 'FP32', data: [item, item] };
    const label = { name: 'label', shape: [2, 3], datatype: 'BOOL', data: [false, false, true, true, false, false] };
    const { body } = await infer('conditional:encoder', { inputs: [label, given] });
    closeTo(
      outputsOf(body).mean?.data,
      [2, 0].flatMap((each) => expectedMean(conditional, item, each)),
    );
    const { status, body: refused } = await infer('conditional:encoder', { inputs: [given] });
    expect([status, refused]).toEqual([400, { error: 'inputs has no label; expected x and label' }]);
  });

  it('takes a missing value where a column may have it', async () => {
    const of = (data: unknown[]) =>
      infer('gaps:encoder', { inputs: [{ name: 'x', shape: [1, 5], datatype: 'FP32', data }] });
    // The fixture's graph has no answer to NaN, so what is refused is its output.
    expect((await of([1, null, 3, 4, 5])).body.error).toContain("the model's mean for item 0 is not a finite number");
    expect((await of([null, 2, 3, 4, 5])).body.error).toBe(
      'x[0][0] is NaN; expected a value of "c0", which is never missing',
    );
  });

  it('takes and gives bytes, with the same numbers', async () => {
    const { data, ...tensor } = x();
    const json = Buffer.from(
      JSON.stringify({
        inputs: [{ ...tensor, parameters: { binary_data_size: data.length * 4 } }],
        outputs: [{ name: 'log_variance', parameters: { binary_data: false } }, { name: 'mean' }],
        parameters: { binary_data_output: true },
      }),
    );
    const body = Buffer.concat([json, Buffer.from(new Float32Array(data).buffer)]);
    const answer = await raw('grey:encoder', body, { 'inference-header-content-length': `${json.byteLength}` });
    expect(answer.headers['content-type']).toBe('application/octet-stream');
    const length = Number(answer.headers['inference-header-content-length']);
    const [variance, mean] = JSON.parse(answer.body.subarray(0, length)).outputs;
    const expected = outputsOf((await infer('grey:encoder', { inputs: [x()] })).body);
    expect(variance).toEqual(expected.log_variance);
    expect(mean).toEqual({ name: 'mean', datatype: 'FP32', shape: [2, 4], parameters: { binary_data_size: 32 } });
    const bytes = new Uint8Array(answer.body.subarray(length));
    expect([...new Float32Array(bytes.buffer)]).toEqual(expected.mean?.data);
  });

  it('takes one row as nothing but bytes', async () => {
    const [item = []] = items;
    const body = Buffer.from(new Float32Array(item).buffer);
    const answer = await raw('grey:encoder', body, { 'inference-header-content-length': '0' });
    const length = Number(answer.headers['inference-header-content-length']);
    expect(JSON.parse(answer.body.subarray(0, length)).outputs[0].shape).toEqual([1, 4]);
    const bytes = new Uint8Array(answer.body.subarray(length, length + 16));
    closeTo([...new Float32Array(bytes.buffer)], expectedMean(store.grey, item));
  });

  it('needs no content type, as clients send none', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const client = httpRequest(`${running.url}/v2/models/grey:encoder/infer`, { method: 'POST' }, (response) => {
        let text = '';
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve(text));
      });
      client.on('error', reject);
      client.end(JSON.stringify({ inputs: [x()] }));
    });
    expect(JSON.parse(answer).model_name).toBe('grey:encoder');
  });

  it('counts rows against the queue', async () => {
    let finish: () => void = () => {};
    const busy = running.service.admit(255, () => new Promise<void>((resolve) => (finish = resolve)));
    const { status, headers, body } = await infer('grey:encoder', { inputs: [x()] });
    expect(status).toBe(503);
    expect(headers['retry-after']).toBe('1');
    expect(body).toEqual({ error: '255 items are waiting already, of 256 at most' });
    finish();
    await busy;
    expect((await infer('grey:encoder', { inputs: [x()] })).status).toBe(200);
  });

  it('is dropped when its client goes away', async () => {
    let aborted = false;
    const submitted = new Promise<ClientRequest>((resolve) => {
      vi.spyOn(running.service, 'encode').mockImplementationOnce((_model, _items, options) => {
        resolve(client);
        return new Promise((_resolve, reject) => {
          options?.cancellation?.add({
            cancel: () => {
              aborted = true;
              reject(new Error('gone'));
            },
          });
        });
      });
    });
    const client = httpRequest(`${running.url}/v2/models/grey:encoder/infer`, { method: 'POST' });
    client.on('error', () => {});
    client.end(JSON.stringify({ inputs: [x()] }));
    (await submitted).destroy();
    await vi.waitFor(() => expect(aborted).toBe(true));
    await vi.waitFor(() => expect(running.service.admitted).toBe(0));
  });
});
