import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RandomSource } from '@elbo/models';
import { loadDataset } from '@elbo/training/data/datasets';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { train } from '@elbo/training/train';
import { loadPreset } from '@elbo/training/vae/configuration';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteDirectory } from '../support/temporary-directory.js';
import { countsDataset } from '../training/support/tables.js';
import { type RunningService, startService } from './support/running-service.js';

// A table with columns of text and missing values, and one of counts, from the file to the answers of the service.

const small = {
  encoder: { convolutions: [], hidden: [24] },
  decoder: { convolutions: [], hidden: [24] },
  latent_size: 4,
  epochs: 150,
};
const engine = new OnnxRuntimeEngine(1);
const newDirectory = suiteDirectory();
let running: RunningService;

beforeAll(async () => {
  const store = newDirectory();
  const random = new RandomSource(5);
  // Each kind of part has a material, a weight and a length of its own.
  const lines = Array.from({ length: 700 }, () => {
    const isSteel = random.integer(2) === 1;
    const [weight, length] = [random.uniform(), random.uniform()].map(
      (u, i) => (isSteel ? [700, 0.3] : [60, 0.8])[i] + u,
    );
    const plant = ['north', 'south', 'west', ''][random.integer(4)];
    // Of wood, every fourth length is missing; of steel, none.
    const measured = isSteel || random.integer(4) > 0 ? length : 'NA';
    return `${isSteel ? 'steel' : 'wood'},${weight},${plant},${measured}`;
  });
  const path = join(store, 'parts.csv');
  writeFileSync(path, ['material,weight,plant,length', ...lines].join('\n'));
  const table = loadPreset('table');
  await train({
    engine,
    store,
    configuration: { ...table, ...small, name: 'parts', optimiser: { ...table.optimiser, learning_rate: 0.005 } },
    dataset: await loadDataset(path),
  });
  await train({
    engine,
    store,
    configuration: { ...loadPreset('counts'), ...small, name: 'cells', epochs: 30 },
    dataset: await countsDataset(),
  });
  running = await startService(store, { defaultModel: 'parts' });
});
afterAll(() => running.close());

const post = (path: string) => request(running.url).post(path);
const material = ['steel', 'wood'];

describe('a table with columns of text', () => {
  it('says what its columns are', async () => {
    const { body } = await request(running.url).get('/models/parts').expect(200);
    expect(body.likelihood).toEqual({ kind: 'mixed' });
    expect(body.input.columns.map(({ name, kind }: { name: string; kind: string }) => [name, kind])).toEqual([
      ['material', 'categorical'],
      ['weight', 'numeric'],
      ['plant', 'categorical'],
      ['length', 'numeric'],
    ]);
    expect([...body.input.columns[0].categories].sort()).toEqual(material);
    expect([...body.input.columns[2].categories].sort()).toEqual(['north', 'south', 'west']);
  });

  /** A part as a row of numbers, by the codes that the service gives. */
  async function rowOf(kind: string, weight: number, plant: string, length: number): Promise<number[]> {
    const { body } = await request(running.url).get('/models/parts').expect(200);
    const code = (column: number, text: string) => body.input.columns[column].categories.indexOf(text);
    return [code(0, kind), weight, code(2, plant), length];
  }

  it('is encoded and reconstructed in its own units, and sampled as rows of its categories', async () => {
    const steel = await rowOf('steel', 700.5, 'south', 0.8);
    const wood = await rowOf('wood', 60.5, 'north', 1.3);
    const { body: encoded } = await post('/encode')
      .send({ inputs: [steel, wood] })
      .expect(200);
    expect(encoded.mean).toHaveLength(2);
    const { body: decoded } = await post('/decode').send({ latents: encoded.mean }).expect(200);
    for (const [i, row] of [steel, wood].entries()) {
      expect(decoded.outputs[i][0]).toBe(row[0]);
      expect(Math.abs(decoded.outputs[i][1] - row[1])).toBeLessThan(40);
    }
    const { body: sampled } = await post('/sample').send({ count: 200, seed: 3 }).expect(200);
    const codes = sampled.outputs.map(([kind]: number[]) => kind);
    expect([...new Set(codes)].sort()).toEqual([0, 1]);
    for (const [kind, weight, plant] of sampled.outputs) {
      expect([0, 1, 2]).toContain(plant);
      // Weights between the kinds come of latents between them, of which there are few.
      expect([0, 1]).toContain(kind);
      expect(weight).toSatisfy(Number.isFinite);
    }
  });

  it('scores a row whose columns do not belong together as anomalous', async () => {
    const usual = await rowOf('steel', 700.5, 'south', 0.8);
    const odd = await rowOf('wood', 700.5, 'south', 0.8);
    const { body } = await post('/anomaly-score')
      .send({ inputs: [usual, odd] })
      .expect(200);
    const [first, second] = body.scores;
    expect(second.components.reconstruction).toBeGreaterThan(first.components.reconstruction + 2);
    expect(second.is_anomaly).toBe(true);
    expect(first.is_anomaly).toBe(false);
  });

  it.each([
    [[2, 700, 0, 1], 'inputs[0][0] is 2; expected the code of a category of "material", a whole number from 0 to 1'],
    [
      [0.5, 700, 0, 1],
      'inputs[0][0] is 0.5; expected the code of a category of "material", a whole number from 0 to 1',
    ],
    [[0, 700, -1, 1], 'inputs[0][2] is -1; expected the code of a category of "plant", a whole number from 0 to 2'],
  ])('refuses %j as JSON, as a list and as float32', async (row, detail) => {
    const { body } = await post('/encode')
      .send({ inputs: [row] })
      .expect(422);
    expect(body.detail).toBe(detail);
    const asList = await request(running.url)
      .get(`/anomaly-score?values=${row.join(',')}`)
      .expect(422);
    expect(asList.body.detail).toBe(detail.replace('inputs[0]', 'values'));
    const bytes = Buffer.from(Float32Array.from([0, 700, 0, 1, ...row]).buffer);
    const raw = await post('/encode').set('content-type', 'application/octet-stream').send(bytes).expect(422);
    expect(raw.body.detail).toBe(detail.replace('inputs[0]', 'body[1]'));
  });
});

describe('rows by the names of their columns', () => {
  const steel = { material: 'steel', weight: 700.5, plant: 'south', length: 0.8 };
  const score = async (body: object) => (await post('/anomaly-score').send(body).expect(200)).body.scores;

  it('are the same as numbers in the order of the columns, codes in place of texts', async () => {
    const { body } = await request(running.url).get('/models/parts').expect(200);
    const codeOf = (column: number, text: string) => body.input.columns[column].categories.indexOf(text);
    const expected = await score({ inputs: [[codeOf(0, 'steel'), 700.5, codeOf(2, 'south'), 0.8]] });
    expect(await score({ rows: [{ length: 0.8, plant: 'south', weight: 700.5, material: 'steel' }] })).toEqual(
      expected,
    );
    expect(await score({ inputs: [['steel', 700.5, 'south', 0.8]] })).toEqual(expected);
    const listed = await request(running.url).get('/anomaly-score?values=steel,700.5,south,0.8').expect(200);
    expect(listed.body.scores).toEqual(expected);
  });

  it('may leave out what was missing at times in training, in every way that a request has', async () => {
    const expected = await score({ rows: [{ ...steel, plant: null }] });
    const { plant, ...without } = steel;
    expect(await score({ rows: [without] })).toEqual(expected);
    expect(await score({ inputs: [['steel', 700.5, null, 0.8]] })).toEqual(expected);
    const listed = await request(running.url).get('/anomaly-score?values=steel,700.5,,0.8').expect(200);
    expect(listed.body.scores).toEqual(expected);
    const { body: model } = await request(running.url).get('/models/parts').expect(200);
    expect(model.input.columns.map(({ missing }: { missing?: true }) => missing)).toEqual([
      undefined,
      undefined,
      true,
      true,
    ]);
    const bytes = Float32Array.of(model.input.columns[0].categories.indexOf('steel'), 700.5, Number.NaN, 0.8);
    const raw = await post('/anomaly-score')
      .set('content-type', 'application/octet-stream')
      .send(Buffer.from(bytes.buffer))
      .expect(200);
    expect(raw.body.scores).toEqual(expected);
    const { body: decoded } = await post('/reconstruct')
      .send({ rows: [without] })
      .expect(200);
    expect(decoded.outputs[0].every(Number.isFinite)).toBe(true);
  });

  it('are explained by the columns that are not as expected', async () => {
    const odd = { material: 'wood', weight: 60.5, plant: 'north', length: 9 };
    const [{ contributions, components }] = await score({ rows: [odd] });
    expect(contributions).toHaveLength(3);
    expect(contributions[0]).toMatchObject({ column: 'length', observed: 9 });
    const { body: again } = await post('/reconstruct')
      .send({ rows: [odd] })
      .expect(200);
    expect(contributions[0].expected).toBeCloseTo(again.outputs[0][3], 4);
    const nats = contributions.map((one: { nats: number }) => one.nats);
    expect(nats).toEqual([...nats].sort((a, b) => b - a));
    const all = (
      await post('/anomaly-score?explain=9')
        .send({ rows: [odd] })
        .expect(200)
    ).body.scores[0].contributions;
    expect(all.map(({ column }: { column: string }) => column).sort()).toEqual([
      'length',
      'material',
      'plant',
      'weight',
    ]);
    const sum = all.reduce((total: number, one: { nats: number }) => total + one.nats, 0);
    expect(sum).toBeCloseTo(components.reconstruction, 2);
    const none = await post('/anomaly-score?explain=0')
      .send({ rows: [odd] })
      .expect(200);
    expect(none.body.scores[0]).not.toHaveProperty('contributions');
  });

  it('are explained in words: the text of a category, null where a value is missing', async () => {
    const rows = [
      { material: 'wood', weight: 700.5, plant: 'south', length: 0.8 },
      { ...steel, length: null },
    ];
    const { body } = await post('/anomaly-score?explain=4').send({ rows }).expect(200);
    const of = (item: number, name: string) =>
      body.scores[item].contributions.find(({ column }: { column: string }) => column === name);
    expect(of(0, 'material').observed).toBe('wood');
    expect(['steel', 'wood']).toContain(of(0, 'material').expected);
    expect(of(1, 'length').observed).toBeNull();
    expect(of(1, 'length').expected).toSatisfy(Number.isFinite);
  });

  it('are stranger where a value is missing that is always there in such rows', async () => {
    const wood = { material: 'wood', weight: 60.5, plant: 'south', length: null };
    const [ofWood, ofSteel] = await score({ rows: [wood, { ...steel, length: null }] });
    expect(ofSteel.components.reconstruction).toBeGreaterThan(ofWood.components.reconstruction + 2);
  });

  it.each<[object, string]>([
    [{ rows: [{ ...steel, weight: null }] }, 'rows[0].weight is null; expected a number'],
    [{ rows: [{ material: 'steel', plant: 'south' }] }, 'rows[0].weight is missing; expected a number'],
    [
      { rows: [steel, { ...steel, wieght: 1 }] },
      'rows[1].wieght is no column; expected material, weight, plant, length',
    ],
    [
      { rows: [{ ...steel, material: 'glass' }] },
      'rows[0].material is the string "glass"; expected one of 2 categories (MATERIALS)',
    ],
    [{ rows: [{ ...steel, weight: '7' }] }, 'rows[0].weight is the string "7"; expected a number'],
    [{ rows: [{ ...steel, weight: 1e30 }] }, 'rows[0].weight is 1e+30; expected -1000000000000 to 1000000000000'],
    [{ inputs: [['steel', null, 'south', 0.8]] }, 'inputs[0][1] is null; expected a number'],
    [JSON.parse('{"rows": [{"__proto__": 1, "weight": 2}]}'), 'forbidden prototype property'],
  ])('refuses %j', async (sent, detail) => {
    const { body } = await post('/encode').send(sent);
    const { body: model } = await request(running.url).get('/models/parts').expect(200);
    expect(body.detail).toContain(detail.replace('MATERIALS', model.input.columns[0].categories.join(', ')));
    expect(body.status).toBeGreaterThanOrEqual(400);
    expect(body.status).toBeLessThan(500);
  });

  it('refuses rows and inputs at once, neither, and NaN where nothing was ever missing', async () => {
    const twice = await post('/encode').send({ rows: [steel], inputs: [['steel', 700.5, 'south', 0.8]] });
    expect([twice.status, twice.body.detail]).toEqual([400, 'expected one of the body fields inputs and rows']);
    const bytes = Buffer.from(Float32Array.of(0, Number.NaN, 0, 1).buffer);
    const raw = await post('/encode').set('content-type', 'application/octet-stream').send(bytes);
    expect([raw.status, raw.body.detail]).toEqual([
      422,
      'body[0][1] is NaN; expected a value of "weight", which is never missing',
    ]);
  });
});

describe('a table of counts', () => {
  it('is reconstructed with the median sum of the training data, whatever was counted', async () => {
    const counts = [20, 3, 4, 18, 4, 2, 22, 3, 4];
    const doubled = counts.map((count) => 2 * count);
    const { body } = await post('/reconstruct?model=cells')
      .send({ inputs: [counts, doubled] })
      .expect(200);
    const totals = body.outputs.map((row: number[]) => row.reduce((sum, count) => sum + count, 0));
    expect(totals[0]).toBeCloseTo(totals[1], 2);
    expect(body.outputs[0][0]).toBeGreaterThan(2 * body.outputs[0][1]);
    const { body: scored } = await post('/anomaly-score?model=cells')
      .send({ inputs: [counts] })
      .expect(200);
    expect(scored.scores[0].score).toSatisfy(Number.isFinite);
  });

  it('refuses a negative count', async () => {
    const { body } = await post('/encode?model=cells')
      .send({ inputs: [[-1, 0, 0, 0, 0, 0, 0, 0, 0]] })
      .expect(422);
    expect(body.detail).toBe('inputs[0][0] is -1; expected 0 to 16777216');
  });
});
