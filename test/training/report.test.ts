import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { conformalPValue, readModel } from '@elbo/models';
import { writeReport } from '@elbo/training';
import { runOverExamples } from '@elbo/training/evaluation/batches';
import { sampleRows } from '@elbo/training/offline/sample-rows';
import { ServedModel } from '@elbo/training/offline/served-model';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { suiteDirectory, temporaryDirectory } from '../support/temporary-directory.js';
import { colourModel, engine, greyModel, type ReportModel, tableModel } from './support/report-models.js';

const HOSTILE = `</title></script><script>alert(1)</script><img src=x onerror=alert(2)>"'&`;

const newDirectory = suiteDirectory();
let grey: ReportModel;
let colour: ReportModel;
let table: ReportModel;

beforeAll(async () => {
  const store = newDirectory();
  grey = await greyModel(store);
  colour = await colourModel(store);
  table = await tableModel(store, ['plain', HOSTILE, 'sum', 'difference']);
});

async function pageOf(
  { directory, dataset }: Pick<ReportModel, 'directory'> & Partial<ReportModel>,
  limit?: number,
): Promise<string> {
  const file = join(temporaryDirectory(), 'page.html');
  const report = await writeReport({ directory, dataset, file, limit, engine });
  const page = readFileSync(file, 'utf8');
  expect(report).toMatchObject({ file, bytes: Buffer.byteLength(page) });
  return page;
}

/** The markup without what data URLs hold. */
const withoutImages = (page: string) => page.replaceAll(/data:image\/[a-z+]+;base64,[A-Za-z0-9+/=]+/g, 'IMAGE');
const sectionOf = (page: string, id: string) =>
  page.match(new RegExp(`<section id="${id}".*?</section>`, 's'))?.[0] ?? '';
const imagesIn = (section: string) =>
  Array.from(section.matchAll(/<img[^>]* src="data:image\/[a-z+]+;base64,([^"]+)"/g), ([, data]) =>
    Buffer.from(data ?? '', 'base64'),
  );

/** What the exported graphs make of the first test examples, at their posterior means. */
async function reconstructed({ directory, dataset: { test } }: ReportModel, count: number): Promise<Float32Array> {
  const { graphs, manifest } = await readModel(directory);
  const [encoder, decoder] = [await engine.load(graphs.encoder), await engine.load(graphs.decoder)];
  const { mean } = await runOverExamples(encoder, test, ['mean']);
  const z = {
    dtype: 'float32',
    shape: [count, manifest.latent.size],
    data: mean.slice(0, count * manifest.latent.size),
  } as const;
  const { x_mean } = await decoder.run({ z });
  await Promise.all([encoder.release(), decoder.release()]);
  return x_mean.data as Float32Array;
}

/** Every address that a browser could load something from. */
function addressesIn(page: string): string[] {
  const markup = withoutImages(page);
  return [
    ...Array.from(
      markup.matchAll(/\s(?:src|href|srcset|poster|data|action|xlink:href)\s*=\s*["']?([^"'\s>]+)/g),
      (m) => m[1] ?? '',
    ),
    ...Array.from(markup.matchAll(/url\((?:&quot;|["'])?([^)"'&]+)/g), (m) => m[1] ?? ''),
    ...Array.from(markup.matchAll(/@import[^;]+|https?:\/\/\S+/g), (m) => m[0]),
  ];
}

describe('a report', () => {
  test('of grey images has every part, loads nothing, and names every image', async () => {
    const page = await pageOf(grey);
    const ids = [
      'metrics',
      'curves',
      'reconstructions',
      'samples',
      'map',
      'kl',
      'aggregate',
      'traversals',
      'weights',
      'anomaly',
      'record',
    ];
    expect(Array.from(page.matchAll(/<section id="([a-z]+)"/g), ([, id]) => id)).toEqual(ids);
    expect(Array.from(page.matchAll(/<a href="#([a-z]+)"/g), ([, id]) => id)).toEqual(ids);
    expect(page).not.toMatch(/Not shown|NaN|undefined|Infinity|\[object/);
    expect(addressesIn(page).filter((address) => address !== 'IMAGE' && !address.startsWith('#'))).toEqual([]);
    for (const [tag] of withoutImages(page).matchAll(/<img[^>]*>/g)) expect(tag).toMatch(/ alt[= ]/);
    for (const [tag] of page.matchAll(/<svg[^>]*>/g)) expect(tag).toMatch(/ role="img" aria-label="[^"]+"/);
    expect(page.match(/<h1/g)).toHaveLength(1);
    expect(sectionOf(page, 'record')).toContain('npx elbo train --preset shapes-mlp');
  });

  test('shows the test examples as they are, and below them what the decoder gives for their posterior means', async () => {
    const page = await pageOf(grey);
    const pairs = imagesIn(sectionOf(page, 'reconstructions'));
    expect(pairs).toHaveLength(24);
    const bytes = await valuesOf(grey.dataset.test);
    const expected = await reconstructed(grey, 24);
    for (const [i, pair] of pairs.entries()) {
      const { data, info } = await sharp(pair).greyscale().raw().toBuffer({ resolveWithObject: true });
      expect([info.width, info.height]).toEqual([12, 24]);
      expect(data.subarray(0, 144)).toEqual(Buffer.from(bytes.slice(i * 144, (i + 1) * 144)));
      const decoded = Array.from(expected.slice(i * 144, (i + 1) * 144), (value) => Math.round(255 * value));
      for (const [at, value] of decoded.entries()) expect(Math.abs(data[144 + at] - value)).toBeLessThanOrEqual(1);
    }
  });

  test('ranks the test examples by their scores, with their conformal p-values', async () => {
    const section = sectionOf(await pageOf(grey), 'anomaly');
    const { graphs, calibrationScores } = await readModel(grey.directory);
    const scorer = await engine.load(graphs.scorer);
    const { score } = await runOverExamples(scorer, grey.dataset.test, ['score']);
    await scorer.release();
    const strangest = Array.from(score, (value, i) => ({ value, i })).sort((a, b) => b.value - a.value);
    const shown = Array.from(
      section.matchAll(/alt="Test example (\d+), class \d".*?<span>([\d.]+)<\/span><span>p ([\d.]+)/gs),
    );
    expect(shown).toHaveLength(24);
    for (const [rank, [, example, value, p]] of shown.slice(0, 12).entries()) {
      expect(Number(example)).toBe(strangest[rank].i);
      expect(Number(value)).toBeCloseTo(strangest[rank].value, 2);
      expect(Number(p)).toBeCloseTo(conformalPValue(calibrationScores, strangest[rank].value), 3);
    }
  });

  test('maps every point with its text and thumbnail; a limit takes the first examples', async () => {
    const page = await pageOf(grey, 30);
    const data = JSON.parse(page.match(/<script type="application\/json" id="map-data">(.*?)<\/script>/s)?.[1] ?? '');
    expect(data.places).toHaveLength(60);
    expect(data.texts).toHaveLength(30);
    expect(data.sheet).toEqual({ columns: 6, rows: 5 });
    expect(data.texts[0]).toMatch(new RegExp(`^class ${grey.dataset.test.labels?.[0]} · p`));
    const map = sectionOf(page, 'map');
    // Each colouring draws every point once.
    expect(map.match(/M\d+,\d+h0/g)).toHaveLength(60);
    expect(map).toContain('class="class-name"');
  });

  test('of colour images keeps their colours', async () => {
    const page = await pageOf(colour);
    const [first] = imagesIn(sectionOf(page, 'reconstructions'));
    const bytes = await valuesOf(colour.dataset.test);
    const { data, info } = await sharp(first).raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height, info.channels]).toEqual([8, 16, 3]);
    // WebP halves the resolution of colours, not of such flat ones.
    for (const channel of [0, 1, 2]) expect(Math.abs(data[channel] - bytes[64 * channel])).toBeLessThan(12);
    expect(sectionOf(page, 'map')).toContain('To the right z0, upwards z1');
  });

  test('of a conditional model shows the samples of the service, and whose class walks are of', async () => {
    const model = await greyModel(temporaryDirectory(), true);
    const page = await pageOf(model);
    const loaded = await readModel(model.directory);
    const seed = loaded.manifest.training.seed;
    const served = await ServedModel.open(engine, loaded);
    const expected: number[] = [];
    for await (const { fields } of sampleRows(served, { count: 64, seed, temperature: 1 })) {
      for (const value of fields.x_mean.values) expected.push(Math.round(255 * Number(value)));
    }
    await served.release();
    const shown: number[] = [];
    for (const image of imagesIn(sectionOf(page, 'samples'))) {
      shown.push(...(await sharp(image).greyscale().raw().toBuffer()));
    }
    expect(shown).toHaveLength(64 * 144);
    expect(sectionOf(page, 'samples')).toContain('POST /sample?model=squares&amp;count=64&amp;seed=1<');
    expect(Math.max(...shown.map((value, at) => Math.abs(value - expected[at])))).toBeLessThanOrEqual(1);
    expect(sectionOf(page, 'traversals')).toContain('the aggregate mean, class 0');
    expect(sectionOf(await pageOf({ directory: model.directory }), 'traversals')).toContain('the origin, class 0');
  });

  test('names classes on the map where they can be read, also those that lie in one place', async () => {
    const { directory, dataset } = grey;
    const labels = Uint8Array.from({ length: dataset.test.count }, (_, i) => i % 10);
    const page = await pageOf({ directory, dataset: { ...dataset, test: { ...dataset.test, labels } } });
    const names = Array.from(page.matchAll(/class="class-name" x="(\d+)" y="(\d+)"/g), ([, x, y]) => [
      Number(x),
      Number(y),
    ]);
    expect(names).toHaveLength(10);
    const distances = names.flatMap((a, i) => names.slice(0, i).map((b) => Math.hypot(a[0] - b[0], a[1] - b[1])));
    expect(Math.min(...distances)).toBeGreaterThan(30);
  });

  test('of a table plots observed against expected values and samples, and tells what each dimension moves', async () => {
    const page = await pageOf(table);
    const reconstructions = sectionOf(page, 'reconstructions');
    expect(reconstructions.match(/aria-label="[^"]*R² [−\d.]+"/g)).toHaveLength(4);
    const rows = Array.from(await valuesOf(table.dataset.test));
    const expected = await reconstructed(table, 80);
    const mean = Float32Array.from(rows).reduce((sum, value, i) => (i % 4 === 2 ? sum + value / 80 : sum), 0);
    const sums = Array.from({ length: 80 }, (_, i) => 4 * i + 2);
    const error = sums.reduce((sum, at) => sum + (rows[at] - expected[at]) ** 2, 0);
    const variance = sums.reduce((sum, at) => sum + (rows[at] - mean) ** 2, 0);
    const shown = /sum: R² (−?[\d.]+)/.exec(reconstructions)?.[1]?.replace('−', '-');
    expect(Number(shown)).toBeCloseTo(1 - error / variance, 1);
    expect(sectionOf(page, 'samples').match(/class="outlined"/g)).toHaveLength(4);
    expect(sectionOf(page, 'traversals')).toMatch(/<th scope="row">z\d<\/th>/);
    expect(sectionOf(page, 'anomaly')).toMatch(/<th scope="row">\d+<\/th>.*?plain: −?[\d.]+ \(−?[\d.]+\)/s);
    expect(imagesIn(page.replace(/<section id="curves".*?<\/section>/s, ''))).toEqual([]);
  });

  test('of a table plots the values that are there, and says where one is missing', async () => {
    const page = await pageOf(await tableModel(temporaryDirectory(), ['a', 'b', 'sum', 'difference'], true));
    const [, points = ''] = /aria-label="sum: R² [^"]*".*?class="points" d="([^"]*)"/s.exec(page) ?? [];
    expect(points.match(/M/g)).toHaveLength(80 - 80 / 5);
    expect(sectionOf(page, 'reconstructions')).toContain('Rows without a value are left out of its plot.');
    expect(page).not.toMatch(/NaN|undefined|Infinity|\[object/);
    expect(sectionOf(await pageOf(table), 'reconstructions')).not.toContain('Rows without a value');
  });

  test('without data leaves out what needs them, and says so', async () => {
    const file = join(temporaryDirectory(), 'page.html');
    const { missing, examples } = await writeReport({ directory: grey.directory, file, engine });
    expect(missing).toMatch(/^dataset is "squares"; expected/);
    expect(examples).toBe(0);
    const page = readFileSync(file, 'utf8');
    expect(page).toMatch(/class="notice">The data set was not found.*--data-dir DIR.*squares/s);
    const absent = Array.from(page.matchAll(/<section id="([a-z]+)".*?<\/section>/gs)).filter(([text]) =>
      text.includes('Not shown'),
    );
    expect(absent.map(([, id]) => id)).toEqual(['reconstructions', 'map', 'aggregate']);
    expect(imagesIn(sectionOf(page, 'samples'))).toHaveLength(64);
    expect(imagesIn(sectionOf(page, 'traversals')).length).toBeGreaterThan(0);
    expect(page).not.toMatch(/NaN|undefined|Infinity|\[object/);
    const ofTable = await writeReport({ directory: table.directory, file, engine });
    expect(ofTable.missing).toMatch(/"rows"/);
    expect(readFileSync(file, 'utf8')).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });

  test('escapes whatever a manifest and a data set say', async () => {
    const directory = join(temporaryDirectory(), 'model');
    cpSync(table.directory, directory, { recursive: true });
    const path = join(directory, 'manifest.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    Object.assign(manifest, { description: HOSTILE, family: HOSTILE });
    manifest.likelihood.kind = HOSTILE;
    Object.assign(manifest.training, { engine: HOSTILE, device: HOSTILE, started_at: HOSTILE });
    Object.assign(manifest.training.configuration, { description: HOSTILE, dataset: HOSTILE, [HOSTILE]: HOSTILE });
    manifest.training.dataset.name = HOSTILE;
    manifest.calibration.dataset = HOSTILE;
    manifest.metrics = { [HOSTILE]: { value: 1, unit: HOSTILE, split: HOSTILE, examples: 1, protocol: HOSTILE } };
    writeFileSync(path, JSON.stringify(manifest));
    for (const dataset of [undefined, { ...table.dataset, name: HOSTILE }]) {
      const page = withoutImages(await pageOf({ directory, ...(dataset && { dataset }) }));
      expect(page).not.toMatch(/<script>alert|<img src=x|<\/title><\/script>/);
      expect(page.match(/<script/g)).toHaveLength(2);
      expect(page.match(/<\/script>/g)).toHaveLength(2);
      expect(page).toContain('&lt;script>alert(1)');
    }
  });

  test('refuses data of another shape, and says where examples are not those of the training', async () => {
    const file = join(temporaryDirectory(), 'page.html');
    await expect(writeReport({ directory: grey.directory, dataset: colour.dataset, file, engine })).rejects.toThrow(
      /^colours has images of 3x8x8; squares takes 1x12x12$/,
    );
    await expect(writeReport({ directory: grey.directory, file, engine, limit: 0 })).rejects.toThrow(
      /^limit is 0; expected/,
    );
    const page = await pageOf({ directory: grey.directory, dataset: { ...grey.dataset, name: 'other' } });
    expect(page).toContain('The examples are those of other; the model was trained on squares.');
    const altered = await pageOf({ directory: grey.directory, dataset: { ...grey.dataset, sha256: '0'.repeat(64) } });
    expect(altered).toContain('is not the one that the model was trained on: its SHA-256 differs');
  });
});
