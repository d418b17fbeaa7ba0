import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLines } from './support/bodies.js';
import {
  expectedDecoding,
  expectedMean,
  type FixtureModel,
  fixtureModel,
  GREY_INPUT,
  VECTOR_INPUT,
  writeFixture,
} from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
let digits: FixtureModel;
let readings: FixtureModel;

beforeAll(async () => {
  store = await fixtureStore();
  const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25], names: ['zero', 'one', 'two'] };
  digits = fixtureModel({ name: 'digits', input: GREY_INPUT, condition });
  readings = fixtureModel({
    name: 'readings',
    input: VECTOR_INPUT,
    condition: { classes: 3, frequencies: [0.5, 0.25, 0.25] },
  });
  const columns = ['a', 'b', 'c', 'label', 'input'].map((name) => ({ name, kind: 'numeric' as const }));
  const table = fixtureModel({
    name: 'odd',
    input: { kind: 'vector', shape: [5], value_range: [-10, 10], columns },
    condition,
  });
  for (const model of [digits, readings, table]) await writeFixture(store.directory, model);
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const row = [1, -2, 3, 0.5, 4];
const image = Array.from({ length: 64 }, (_, i) => (i % 9) / 8);
const post = async (path: string, lines: readonly unknown[]) =>
  request(running.url)
    .post(path)
    .set('content-type', 'application/x-ndjson')
    .buffer()
    .parse((response, done) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => done(null, Buffer.concat(chunks).toString()));
    })
    .send(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));

function close(values: readonly number[] | undefined, expected: readonly number[]): void {
  expect(values).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(values?.[i]).toBeCloseTo(value, 4);
}

describe('a line with its class', () => {
  it('is answered by it, whatever the others have', async () => {
    const labels = Array.from({ length: 150 }, (_, i) => (i * 7) % 3);
    const { status, body } = await post(
      '/encode?model=readings',
      labels.map((label) => ({ input: row, label })),
    );
    expect(status).toBe(200);
    const answers = parseLines<{ label: number; mean: number[] }>(body);
    expect(answers.map(({ label }) => label)).toEqual(labels);
    for (const { label, mean } of answers) close(mean, expectedMean(readings, row, label));
  });

  it('may name the class, and its latent on the way back', async () => {
    const { body } = await post('/decode?model=digits', [
      { latent: [1, 2, 3, 4], label: 'two' },
      { label: 0, latent: [1, 2, 3, 4] },
    ]);
    const answers = parseLines<{ label: number; output: number[][][] }>(body);
    expect(answers.map(({ label }) => label)).toEqual([2, 0]);
    for (const { label, output } of answers) close(output.flat(2), expectedDecoding(digits, [1, 2, 3, 4], label));
  });

  it.each(['/encode', '/reconstruct', '/anomaly-score'])('has the numbers that %s has in JSON', async (path) => {
    const labels = [2, 0, 1];
    const inputs = labels.map((label) => image.map((value) => value / (label + 1)));
    const { body: json } = await request(running.url).post(`${path}?model=digits`).send({ inputs, labels });
    const { body } = await post(
      `${path}?model=digits`,
      inputs.map((input, i) => ({ input, label: labels[i] })),
    );
    for (const [i, line] of parseLines(body).entries()) {
      expect(line.label).toBe(labels[i]);
      if (path === '/encode') expect(line.mean).toEqual(json.mean[i]);
      else if (path === '/reconstruct') expect(line.output).toEqual(json.outputs[i]);
      else expect(line).toMatchObject(json.scores[i]);
    }
  });

  it('may hold a row, also one with such columns, and stands beside the class of all lines', async () => {
    const object = { a: 1, b: -2, c: 3, label: 0.5, input: 4 };
    const alone = await post('/encode?model=odd', [{ input: object, label: 1 }]);
    const forAll = await post('/encode?model=odd&label=1', [object, row]);
    const [expected] = parseLines(alone.body);
    expect(expected).toMatchObject({ label: 1, mean: expect.any(Array) });
    expect(parseLines(forAll.body)).toEqual([expected, expected]);
    const named = await post('/encode?model=readings&label=1', [row, { input: row }]);
    const [first, second] = parseLines(named.body);
    expect(second).toEqual(first);
  });
});

describe('a line whose class is refused', () => {
  const takes = 'model digits/1 takes a class number from 0 to 2 or a class name ("zero", "one", "two")';
  const missing = 'has no label; expected {"input": …, "label": …}, or query parameter label for all lines; ';

  it.each<[string, string, unknown, string]>([
    ['has none', '', image, `line 1 ${missing}${takes}`],
    ['has none beside its item', '', { input: image }, `line 1 ${missing}${takes}`],
    ['is an object without item', '', { label: 1 }, `line 1 ${missing}${takes}`],
    ['is null', '', null, `line 1 ${missing}${takes}`],
    ['has another', '', { input: image, label: 3 }, `label of line 1 is 3; ${takes}`],
    ['has a fraction', '', { input: image, label: 0.5 }, `label of line 1 is 0.5; ${takes}`],
    ['has an unknown name', '', { input: image, label: '1' }, `label of line 1 is the string "1"; ${takes}`],
    ['has null', '', { input: image, label: null }, `label of line 1 is null; ${takes}`],
    ['has an array', '', { input: image, label: [1] }, `label of line 1 is an array; ${takes}`],
    [
      'has more',
      '',
      { input: image, label: 1, id: 7 },
      'line 1 has "id"; expected {"input": …, "label": …} and nothing',
    ],
    ['has two', '&label=1', { input: image, label: 1 }, 'line 1 has a label and query parameter label is given'],
    ['has another for all', '&label=5', image, `query parameter label is the string "5"; ${takes}`],
  ])('%s', async (_name, query, line, detail) => {
    const { status, body } = await post(`/encode?model=digits${query}`, [line]);
    expect(status).toBe(400);
    expect(JSON.parse(body)).toMatchObject({ code: 'INVALID_REQUEST', detail: expect.stringContaining(detail) });
  });

  it('is named by its number, after all lines before it', async () => {
    const good = { input: image, label: 1 };
    const { status, body } = await post('/encode?model=digits', [good, good, { input: image, label: 9 }, good]);
    expect(status).toBe(200);
    const answers = parseLines<Record<string, { detail?: string }>>(body);
    expect(answers).toHaveLength(3);
    expect(answers[2]?.error).toMatchObject({ status: 400, detail: `label of line 3 is 9; ${takes}` });
  });

  it('is of a model that takes none', async () => {
    const forAll = await post('/encode?model=grey&label=1', [image]);
    expect(JSON.parse(forAll.body).detail).toBe(
      'query parameter label is given; expected none, as model grey/2 takes no label',
    );
    const own = await post('/encode?model=grey', [{ input: image, label: 1 }]);
    expect([own.status, JSON.parse(own.body).detail]).toEqual([422, expect.stringContaining('line 1 is an object')]);
  });
});
