import { conformalPValue, drawLabels, drawLatents, GRAPH_FILES } from '@elbo/models';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { add, gemm, log, mul, reduceMax, reduceSum, square, sub, tanh } from '@elbo/training/onnx/ops';
import { float32 as tensorOf } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import {
  expectedDecoding,
  expectedLogVariance,
  expectedMean,
  type FixtureModel,
  fixtureModel,
  GREY_INPUT,
  VECTOR_INPUT,
  writeFixture,
} from './support/fixture-models.js';
import { greyPng, pixelsOf } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
let digits: FixtureModel;
let readings: FixtureModel;
const bytes = Uint8Array.from({ length: 64 }, (_, i) => (i * 37) % 256);
const item = Array.from(bytes, (byte) => byte / 255);
const blank: number[] = Array(64).fill(0);
const row = [1, -2, 0.5, 4, 5];
const float32 = (values: readonly number[]) => Buffer.from(Float32Array.from(values).buffer);

/** Gives x W plus log(1 - 4 (sum(label) - 1)^2 - 4 (max(label) - 1)^2), which is finite, and 0, for a one-hot label alone. */
function oneHotEncoder({ weights }: FixtureModel, classes: number): Uint8Array {
  const graph = new Graph('encoder');
  const x = graph.input('x', 'float32', ['N', 5]);
  const label = graph.input('label', 'float32', ['N', classes]);
  const distance = add(square(sub(reduceSum(label, [1], true), 1)), square(sub(reduceMax(label, [1], true), 1)));
  const mean = add(gemm(x, graph.initialiser('W', tensorOf(weights.W, [5, 4]))), log(sub(1, mul(distance, 4))));
  graph.output(mean, 'mean');
  graph.output(tanh(mean), 'log_variance');
  return encodeModel(graph);
}

beforeAll(async () => {
  store = await fixtureStore();
  const names = ['zero', 'one', 'a pair'];
  digits = fixtureModel({
    name: 'digits',
    input: GREY_INPUT,
    seed: 5,
    condition: { classes: 3, frequencies: [0.2, 0.3, 0.5], names },
  });
  readings = fixtureModel({
    name: 'readings',
    input: VECTOR_INPUT,
    latentSize: 3,
    seed: 6,
    condition: { classes: 12, frequencies: Array(12).fill(1 / 12) },
  });
  for (const model of [digits, readings]) await writeFixture(store.directory, model);
  running = await startService(store.directory, { defaultModel: 'digits' });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const post = (path: string, type = 'application/json') => request(running.url).post(path).set('content-type', type);

function close(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 5);
}

/** What the scorer of a fixture must give. */
function expectedScore(model: FixtureModel, x: readonly number[], label: number): number {
  const mean = expectedMean(model, x, label);
  const decoded = expectedDecoding(model, mean, label);
  const reconstruction = x.reduce((sum, value, i) => sum + (value - (decoded[i] ?? 0)) ** 2, 0);
  return reconstruction + mean.reduce((sum, value) => sum + value ** 2, 0);
}

describe('a conditional model', () => {
  it('encodes each item as one of its class', async () => {
    const { body, status } = await post('/encode').send({ inputs: [item, item, blank], labels: [2, 'one', 0] });
    expect(status).toBe(200);
    expect(body.labels).toEqual([2, 1, 0]);
    for (const [n, [x, label]] of (
      [
        [item, 2],
        [item, 1],
        [blank, 0],
      ] as [number[], number][]
    ).entries()) {
      close(body.mean[n], expectedMean(digits, x, label));
      close(body.log_variance[n], expectedLogVariance(digits, x, label));
    }
    expect(body.mean[0]).not.toEqual(body.mean[1]);
  });

  it('encodes the same in every content type, its label in the query as a number or a name', async () => {
    const png = await greyPng(bytes, 8, 8);
    const answers = await Promise.all([
      post('/encode').send({ inputs: [item], labels: [2] }),
      post('/encode').send({ inputs: [item], labels: ['a pair'] }),
      post('/encode?label=2').send({ inputs: [item] }),
      post('/encode?label=a%20pair').send({ inputs: [item] }),
      post('/encode?label=a+pair').send({ inputs: [png.toString('base64')] }),
      post('/encode?label=2', 'image/png').send(png),
      post('/encode?label=a+pair', 'image/webp').send(png),
      post('/encode?label=2', 'application/octet-stream').send(float32(item)),
    ]);
    for (const { status, body } of answers) {
      expect(status).toBe(200);
      expect(body).toEqual(answers[0]?.body);
    }
  });

  it('gives float32 as it gives JSON, draws of z, too', async () => {
    const ask = () => post('/encode?label=one&sample=true&seed=3').send({ inputs: [item, blank] });
    const { body: json } = await ask();
    expect(json.labels).toEqual([1, 1]);
    const { body } = await ask().set('accept', 'application/octet-stream');
    const values = [...new Float32Array(new Uint8Array(body).buffer)];
    expect(values).toEqual([0, 1].flatMap((n) => [json.mean[n], json.log_variance[n], json.z[n]]).flat());
  });

  it('decodes a latent as one of its class', async () => {
    const latents = [
      [0.5, -1, 2, 0],
      [0.5, -1, 2, 0],
    ];
    const { body } = await post('/decode').send({ latents, labels: ['zero', 2] });
    expect(body.labels).toEqual([0, 2]);
    close(body.outputs[0].flat(2), expectedDecoding(digits, latents[0] ?? [], 0));
    close(body.outputs[1].flat(2), expectedDecoding(digits, latents[1] ?? [], 2));

    const raw = await post('/decode?label=zero', 'application/octet-stream')
      .set('accept', 'application/octet-stream')
      .send(float32(latents[0] ?? []));
    expect([...new Float32Array(new Uint8Array(raw.body).buffer)]).toEqual(body.outputs[0].flat(2));
    const picture = await post('/decode?label=2').set('accept', 'image/png').send({ latents });
    const levels = body.outputs[1].flat(2).map((value: number) => Math.round(value * 255));
    expect([...(await pixelsOf(picture.body)).data].slice(0, 8)).toEqual(levels.slice(0, 8));
  });

  it('reconstructs an item as one of its class', async () => {
    const { body } = await post('/reconstruct').send({ inputs: [item, item], labels: [0, 1] });
    expect(body.labels).toEqual([0, 1]);
    for (const label of [0, 1]) {
      close(body.outputs[label].flat(2), expectedDecoding(digits, expectedMean(digits, item, label), label));
    }
    const png = await post('/reconstruct?label=1', 'image/png')
      .set('accept', 'image/png')
      .send(await greyPng(bytes, 8, 8));
    const levels = body.outputs[1].flat(2).map((value: number) => Math.round(value * 255));
    expect([...(await pixelsOf(png.body)).data]).toEqual(levels);
  });

  it('scores an item as one of its class, by POST and by GET', async () => {
    const posted = await post('/anomaly-score').send({ inputs: [item, item], labels: [0, 'a pair'] });
    expect(posted.body.labels).toEqual([0, 2]);
    for (const [n, label] of [0, 2].entries()) {
      const { score, p_value } = posted.body.scores[n];
      expect(score).toBeCloseTo(expectedScore(digits, item, label), 4);
      expect(p_value).toBe(conformalPValue(digits.calibrationScores, score));
    }
    const png = await greyPng(bytes, 8, 8);
    const { body: got } = await request(running.url).get(
      `/anomaly-score?input=${png.toString('base64url')}&label=a%20pair`,
    );
    expect(got.labels).toEqual([2]);
    expect(got.scores[0]).toEqual(posted.body.scores[1]);
    const table = await request(running.url).get(`/anomaly-score?model=readings&values=${row.join()}&label=11`);
    expect(table.body.scores[0].score).toBeCloseTo(expectedScore(readings, row, 11), 3);
  });

  it('shows the error map of an item as one of its class', async () => {
    const ask = (label: number) =>
      post(`/anomaly-score?label=${label}`)
        .set('accept', 'application/octet-stream')
        .send({ inputs: [item] });
    const decoded = expectedDecoding(digits, expectedMean(digits, item, 1), 1);
    const { body } = await ask(1);
    const map = [...new Float32Array(new Uint8Array(body).buffer)];
    close(
      map,
      item.map((value, i) => (value - (decoded[i] ?? 0)) ** 2),
    );
    expect((await ask(2)).body).not.toEqual(body);
    const picture = await post('/anomaly-score?label=1')
      .set('accept', 'image/png')
      .send({ inputs: [item] });
    expect(picture.status).toBe(200);
    expect((await pixelsOf(picture.body)).channels).toBe(3);
  });

  it('is described with its classes; another model has none', async () => {
    const { body } = await request(running.url).get('/models/digits');
    expect(body.condition).toEqual({ classes: 3, frequencies: [0.2, 0.3, 0.5], names: ['zero', 'one', 'a pair'] });
    expect((await request(running.url).get('/models/grey')).body).not.toHaveProperty('condition');
  });

  it('answers many requests at once, each by its own label', async () => {
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const { body } = await post(`/encode?model=readings&label=${i % 12}`).send({ inputs: [row] });
        return { label: i % 12, mean: body.mean[0] as number[] };
      }),
    );
    for (const { label, mean } of answers) close(mean, expectedMean(readings, row, label));
  });
});

describe('a model that is finite for one-hot labels alone', () => {
  it('passes its warm-up, and serves every class', async () => {
    const condition = { classes: 5, frequencies: Array(5).fill(0.2) };
    const model = fixtureModel({ name: 'strict', input: VECTOR_INPUT, condition });
    model.files.set(GRAPH_FILES.encoder, oneHotEncoder(model, 5));
    const directory = temporaryDirectory();
    await writeFixture(directory, model);
    const service = await startService(directory);
    try {
      expect(service.log.filter((line) => line.startsWith('refused'))).toEqual([]);
      const inputs = Array(5).fill(row);
      const { body } = await request(service.url)
        .post('/encode')
        .send({ inputs, labels: [0, 1, 2, 3, 4] });
      const plain = { ...model, weights: { ...model.weights, b: new Float32Array(4) } };
      for (const mean of body.mean) close(mean, expectedMean(plain, row));
    } finally {
      await service.close();
    }
  });
});

describe('samples of a conditional model', () => {
  it('are of the class that is asked for, in the query or in the body', async () => {
    const { body, text } = await post('/sample?count=3&seed=7&label=one').send();
    expect(body.labels).toEqual([1, 1, 1]);
    expect(body.latents.flat()).toEqual([...drawLatents({ latentSize: 4 }, 3, 7)]);
    for (const n of [0, 1, 2]) close(body.outputs[n].flat(2), expectedDecoding(digits, body.latents[n], 1));
    for (const label of [1, 'one']) expect((await post('/sample').send({ count: 3, seed: 7, label })).text).toBe(text);
    expect((await post('/sample?count=3&seed=7&label=1').send()).text).toBe(text);
    expect((await post('/sample?count=3&seed=7&label=0').send()).text).not.toBe(text);
  });

  it('are of classes that the seed draws by their frequencies where none is asked for', async () => {
    const { body } = await post('/sample?count=40&seed=9').send();
    expect(body.labels).toEqual(drawLabels([0.2, 0.3, 0.5], 40, 9));
    expect(new Set(body.labels)).toEqual(new Set([0, 1, 2]));
    for (const n of [0, 17, 39]) {
      close(body.outputs[n].flat(2), expectedDecoding(digits, body.latents[n], body.labels[n]));
    }
    const few = (await post('/sample?count=3&seed=9').send()).body;
    expect(few.labels).toEqual(body.labels.slice(0, 3));
    expect(few.outputs).toEqual(body.outputs.slice(0, 3));
    expect((await post('/sample?count=40&seed=10').send()).body.labels).not.toEqual(body.labels);
  });

  it('are the same bytes for the same seed, in every type', async () => {
    for (const type of ['application/json', 'image/png', 'application/octet-stream']) {
      const ask = (seed: number) =>
        post(`/sample?count=20&seed=${seed}`).set('accept', type).responseType('blob').send();
      const [first, again, other] = await Promise.all([7, 7, 8].map(ask));
      expect(first?.status).toBe(200);
      expect(first?.body.equals(again?.body)).toBe(true);
      expect(first?.body.equals(other?.body)).toBe(false);
    }
  });
});

describe('a label that is refused', () => {
  const takesNames = 'model digits/1 takes a class number from 0 to 2 or a class name ("zero", "one", "a pair")';
  const missing = `query parameter label (or, in JSON, body field labels with one for each item) is missing; ${takesNames}`;

  it.each<[string, unknown, string]>([
    ['/encode', { inputs: [item] }, missing],
    ['/reconstruct', { inputs: [item] }, missing],
    ['/anomaly-score', { inputs: [item] }, missing],
    ['/decode', { latents: [[0, 0, 0, 0]] }, missing],
    ['/encode?label=3', { inputs: [item] }, `query parameter label is the string "3"; ${takesNames}`],
    ['/encode?label=', { inputs: [item] }, `query parameter label is the string ""; ${takesNames}`],
    ['/encode?label=ten', { inputs: [item] }, `query parameter label is the string "ten"; ${takesNames}`],
    ['/encode?label=1&label=2', { inputs: [item] }, 'query parameter label must be string'],
    [
      '/encode?label=1',
      { inputs: [item], labels: [1] },
      'query parameter label and body field labels are both given; expected one of them',
    ],
    ['/encode', { inputs: [item, item], labels: [1] }, 'body field labels has 1 labels; expected 2, one for each item'],
    ['/encode', { inputs: [item], labels: [] }, 'body field labels has 0 labels; expected 1, one for each item'],
    ['/encode', { inputs: [item, item], labels: [1, 3] }, `body field labels[1] is 3; ${takesNames}`],
    ['/encode', { inputs: [item], labels: [-1] }, `body field labels[0] is -1; ${takesNames}`],
    ['/encode', { inputs: [item], labels: ['1'] }, `body field labels[0] is the string "1"; ${takesNames}`],
    ['/encode', { inputs: [item], labels: [0.5] }, 'body field labels.0 must be integer,string, not 0.5'],
    ['/encode', { inputs: [item], labels: [null] }, 'body field labels.0 must be integer,string, not null'],
    ['/encode', { inputs: [item], labels: 1 }, 'body field labels must be array, not 1'],
    ['/encode', { inputs: [item], label: 1 }, 'body field "label" is unknown; expected inputs, rows, labels'],
    ['/decode', { latents: [[0, 0, 0, 0]], labels: [1, 2] }, 'body field labels has 2 labels; expected 1'],
    ['/decode', { latents: [[0, 0, 0, 0]], labels: ['two'] }, 'body field labels[0] is the string "two"'],
    [
      '/encode?model=readings&label=zero',
      { inputs: [row] },
      'query parameter label is the string "zero"; model readings/1 takes a class number from 0 to 11',
    ],
    [
      '/encode?model=grey&label=0',
      { inputs: [item] },
      'query parameter label is given; expected none, as model grey/2 takes no label',
    ],
    [
      '/decode?model=grey',
      { latents: [[0, 0, 0, 0]], labels: [0] },
      'body field labels is given; expected none, as model grey/2 takes no label',
    ],
    ['/encode?model=grey', { inputs: [item], labels: [] }, 'body field labels is given; expected none'],
    ['/sample?label=3', {}, `query parameter label is the string "3"; ${takesNames}`],
    ['/sample', { label: 3 }, `body field label is 3; ${takesNames}`],
    ['/sample', { label: '1' }, `body field label is the string "1"; ${takesNames}`],
    ['/sample', { label: null }, 'body field label must be integer,string, not null'],
    ['/sample', { labels: [1] }, 'body field "labels" is unknown; expected count, seed, temperature, label'],
    ['/sample?label=1', { label: 1 }, 'label is given twice, in the query and in the body'],
    ['/sample?model=grey&label=1', {}, 'query parameter label is given; expected none, as model grey/2 takes no label'],
    ['/sample?model=grey', { label: 1 }, 'body field label is given; expected none, as model grey/2 takes no label'],
  ])('POST %s (%#)', async (path, body, detail) => {
    const response = await post(path).send(JSON.stringify(body));
    expect(response.body).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
    expect(response.body.detail).toContain(detail);
    expect(running.service.admitted).toBe(0);
  });

  it('is missing from bytes and pictures', async () => {
    const raw = await post('/encode', 'application/octet-stream').send(float32(item));
    expect(raw.body).toMatchObject({ status: 400, code: 'INVALID_REQUEST', detail: missing });
    const picture = await post('/reconstruct', 'image/png').send(await greyPng(bytes, 8, 8));
    expect(picture.body).toMatchObject({ status: 400, code: 'INVALID_REQUEST', detail: missing });
  });

  it.each([
    ['model=readings', 'query parameter label is missing; model readings/1 takes a class number from 0 to 11'],
    ['model=readings&label=12', 'query parameter label is the string "12"; model readings/1 takes a class number'],
    ['model=table&label=1', 'query parameter label is given; expected none, as model table/1 takes no label'],
  ])('GET /anomaly-score?%s', async (query, detail) => {
    const { body } = await request(running.url).get(`/anomaly-score?values=${row.join()}&${query}`);
    expect(body).toMatchObject({ status: 400, code: 'INVALID_REQUEST', detail: expect.stringContaining(detail) });
  });

  it('never makes the server fail, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (label) => {
        const bodies: [string, unknown][] = [
          ['/encode', { inputs: [item], labels: label }],
          ['/decode', { latents: [[0, 0, 0, 0]], labels: [label] }],
          ['/sample', { count: 1, label }],
          [`/sample?count=1&label=${encodeURIComponent(JSON.stringify(label))}`, {}],
        ];
        for (const [path, body] of bodies) {
          const { status } = await post(path).send(JSON.stringify(body));
          expect([200, 400]).toContain(status);
        }
      }),
      { numRuns: 25 },
    );
  });
});
