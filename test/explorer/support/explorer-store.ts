import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeUint16, type ImageInput, type InputDescription, RandomSource, type Reference } from '@elbo/models';
import sharp from 'sharp';
import {
  expectedMean,
  type FixtureModel,
  fixtureModel,
  GREY_INPUT,
  RGB_INPUT,
  writeFixture,
} from '../../server/support/fixture-models.js';
import { plainPng } from '../../server/support/pictures.js';

export const TABLE_INPUT: InputDescription = {
  kind: 'vector',
  shape: [4],
  value_range: [-100, 100],
  columns: [
    { name: 'temperature', kind: 'numeric' },
    { name: 'pressure', kind: 'numeric', missing: true },
    { name: 'colour', kind: 'categorical', categories: ['red', 'green', 'blue'] },
    { name: 'flow', kind: 'numeric' },
  ],
};

const CONDITION = { classes: 3, frequencies: [0.5, 0.25, 0.25], names: ['cat', 'dog', 'eel'] };

const CURVES = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><path d="M0 0L20 9" stroke="teal"/></svg>';

export interface ExplorerStore {
  readonly directory: string;
  /** Grey images with reference items of two classes. */
  readonly pictured: FixtureModel;
  remove(): Promise<void>;
}

export const STORE_MODELS = ['coloured', 'pictured', 'sorted', 'tabled'] as const;

/**
 * A store with a model of each kind that the explorer shows: grey images and rows with reference items, colour images
 * without, and a conditional one.
 */
export async function explorerStore(points = 240): Promise<ExplorerStore> {
  const directory = await mkdtemp(join(tmpdir(), 'elbo-explorer-'));
  const pictured = await withReference('pictured', GREY_INPUT, points);
  const models = [
    pictured,
    fixtureModel({ name: 'coloured', input: RGB_INPUT, seed: 5 }),
    fixtureModel({ name: 'sorted', input: GREY_INPUT, seed: 6, condition: CONDITION }),
    await withReference('tabled', TABLE_INPUT, 60),
  ];
  const preview = await plainPng(64, 36, 'teal');
  for (const model of models) {
    model.files.set('preview.png', preview);
    model.files.set('training-curves.svg', Buffer.from(CURVES));
    await writeFixture(directory, model);
  }
  return { directory, pictured, remove: () => rm(directory, { recursive: true, force: true }) };
}

/** A fixture whose reference items are random, and whose codes are what its own encoder gives for them. */
async function withReference(name: string, input: InputDescription, count: number): Promise<FixtureModel> {
  const random = new RandomSource(9);
  const size = input.shape.reduce((product, side) => product * side, 1);
  const latentSize = 4;
  const plain = fixtureModel({ name, input, latentSize, seed: 3 });
  const items = Array.from({ length: count }, () => Array.from({ length: size }, (_, i) => value(random, input, i)));
  const codes = items.map((item) => expectedMean(plain, item));
  const bound = (pick: (...values: number[]) => number) =>
    Array.from({ length: latentSize }, (_, i) => pick(...codes.map((code) => code[i] ?? 0)));
  const [minimum, maximum] = [bound(Math.min), bound(Math.max)];
  const toByte = (code: number, i: number) =>
    Math.round((255 * (code - (minimum[i] ?? 0))) / ((maximum[i] ?? 1) - (minimum[i] ?? 0)));
  const columns = Math.ceil(Math.sqrt(count));
  const reference: Reference = {
    count,
    codes: { file: 'reference-codes.u8', minimum, maximum },
    map: { file: 'reference-map.u16' },
    principal_components: {
      mean: Array.from({ length: latentSize }, () => 0),
      axes: [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
      ],
      explained: [0.5, 0.25],
    },
    labels: { file: 'reference-labels.u16', names: ['left', 'right'] },
    items:
      input.kind === 'image'
        ? { kind: 'sprites', file: 'reference-items.webp', columns }
        : { kind: 'rows', file: 'reference-items.f32' },
  };
  const model = fixtureModel({
    name,
    input,
    latentSize,
    seed: 3,
    change: (draft) => ({
      ...draft,
      reference,
      latent: { ...draft.latent, kl_per_dimension: [0.5, 2, 0.001, 1] },
    }),
  });
  // A grid, so that a place on the map is known without a browser.
  const map = Uint16Array.from({ length: 2 * count }, (_, i) => {
    const point = i >> 1;
    const place = i % 2 === 0 ? point % columns : Math.floor(point / columns);
    return Math.round((65_535 * place) / (columns - 1));
  });
  model.files.set('reference-codes.u8', Uint8Array.from(codes.flatMap((code) => code.map(toByte))));
  model.files.set('reference-map.u16', encodeUint16(map));
  model.files.set(
    'reference-labels.u16',
    encodeUint16(Uint16Array.from({ length: count }, (_, point) => (point % columns < columns / 2 ? 0 : 1))),
  );
  const content = input.kind === 'image' ? await sprites(items, input, columns) : float32(items.flat());
  model.files.set(reference.items?.file ?? '', content);
  return model;
}

function value(random: RandomSource, input: InputDescription, column: number): number {
  if (input.kind === 'image') return random.integer(256) / 255;
  return input.columns?.[column]?.kind === 'categorical' ? random.integer(3) : random.integer(40) - 20;
}

function float32(values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, one] of values.entries()) bytes.writeFloatLE(one, 4 * i);
  return bytes;
}

function sprites(
  items: readonly number[][],
  { shape: [, height, width] }: ImageInput,
  columns: number,
): Promise<Buffer> {
  const rows = Math.ceil(items.length / columns);
  const pixels = new Uint8Array(columns * width * rows * height);
  for (const [i, item] of items.entries()) {
    const start = Math.floor(i / columns) * height * columns * width + (i % columns) * width;
    for (const [pixel, one] of item.entries()) {
      pixels[start + Math.floor(pixel / width) * columns * width + (pixel % width)] = Math.round(255 * one);
    }
  }
  return sharp(pixels, { raw: { width: columns * width, height: rows * height, channels: 1 } })
    .toColourspace('b-w')
    .webp({ lossless: true })
    .toBuffer();
}
