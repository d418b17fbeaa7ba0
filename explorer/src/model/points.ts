import { type Signal, signal } from '@preact/signals';
import { answered, FLOAT32, float32Of, type ModelDetails, service } from '../api/service.js';
import { type ImageInput, type Model, queryWithLabel, type VectorInput } from './model.js';
import { imageDataOf, valuesOf } from './pixels.js';

export type Reference = NonNullable<ModelDetails['reference']>;

/** Pictures of items side by side, in reading order. */
export interface Sheet {
  readonly picture: CanvasImageSource;
  readonly columns: number;
  /** Width and height of each, which of large images are smaller than the model's own. */
  readonly tile: readonly number[];
}

/** Items that are known by their latents: the reference of a model, or samples of its prior. */
export interface Points {
  readonly kind: 'reference' | 'prior';
  readonly count: number;
  /** Posterior means, count x Z. */
  readonly codes: Float32Array;
  /** x and y of each in turn, 0 to 1; undefined where nobody computed it. */
  readonly map: Float32Array | undefined;
  readonly plane: Reference['principal_components'] | undefined;
  readonly labels: Uint16Array | undefined;
  readonly labelNames: readonly string[];
  /** Of models of images; undefined until it is there. */
  readonly sheet: Signal<Sheet | undefined>;
  /** Of models of tables, count x columns. */
  readonly rows: Float32Array | undefined;
}

export function codeOf({ codes, count }: Points, index: number): Float32Array {
  const size = codes.length / count;
  return codes.subarray(index * size, (index + 1) * size);
}

/** The numbers of an item; undefined while its picture is on its way. */
export function itemOf(points: Points, index: number, model: Model): Float32Array | undefined {
  if (model.input.kind === 'vector') return points.rows?.subarray(index * model.itemSize, (index + 1) * model.itemSize);
  const tile = tileOf(points, index, model.input);
  return tile && valuesOf(tile, model.input);
}

/** The picture of an item, in the model's size. */
export function tileOf({ sheet }: Points, index: number, { shape }: ImageInput): ImageData | undefined {
  if (sheet.value === undefined) return undefined;
  const [, height, width] = shape;
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (context === null) return undefined;
  drawTile(context, sheet.value, index, width, height);
  return context.getImageData(0, 0, width, height);
}

function drawTile(
  context: CanvasRenderingContext2D,
  { picture, columns, tile: [wide = 1, high = 1] }: Sheet,
  index: number,
  width: number,
  height: number,
): void {
  const [left, top] = [(index % columns) * wide, Math.floor(index / columns) * high];
  context.drawImage(picture, left, top, wide, high, 0, 0, width, height);
}

/** The reference items of a model; everything but their pictures is there when this is. */
export async function referencePoints(model: Model, reference: Reference, signal_: AbortSignal): Promise<Points> {
  const { count, codes, map, labels, items } = reference;
  const file = (name: string | undefined) => (name === undefined ? undefined : fileOf(model, name, signal_));
  const rowsFile = items?.kind === 'rows' ? items.file : undefined;
  const [bytes, places, classes, rows] = await Promise.all([
    fileOf(model, codes.file, signal_),
    file(map?.file),
    file(labels?.file),
    file(rowsFile),
  ]);
  const sheet = signal<Sheet | undefined>(undefined);
  if (items?.kind === 'sprites') {
    void loadSheet(model, items, sheet, signal_);
  }
  return {
    kind: 'reference',
    count,
    codes: spread(new Uint8Array(bytes), codes.minimum, codes.maximum),
    map: places && Float32Array.from(new Uint16Array(places), (value) => value / 65535),
    plane: reference.principal_components,
    labels: classes && new Uint16Array(classes),
    labelNames: labels?.names ?? [],
    sheet,
    rows: rows && new Float32Array(rows),
  };
}

const SHEET_ATTEMPTS = 5;
const ATTEMPT_AFTER_MS = 2000;

/** Everything else works without pictures, so trouble with them is no reason to show nothing. */
async function loadSheet(
  model: Model,
  items: Extract<Reference['items'], { kind: 'sprites' }>,
  sheet: Signal<Sheet | undefined>,
  abort: AbortSignal,
): Promise<void> {
  for (let attempt = 0; attempt < SHEET_ATTEMPTS; attempt++) {
    try {
      const picture = await createImageBitmap(new Blob([await fileOf(model, items.file, abort)]));
      sheet.value = { picture, columns: items.columns, tile: items.tile ?? tileSize(model) };
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, ATTEMPT_AFTER_MS));
    }
  }
}

function tileSize({ input }: Model): readonly number[] {
  return input.kind === 'image' ? [input.shape[2], input.shape[1]] : [1, 1];
}

/** From bytes to what they stand for. */
function spread(bytes: Uint8Array, minimum: readonly number[], maximum: readonly number[]): Float32Array {
  const size = minimum.length;
  return Float32Array.from(bytes, (byte, i) => {
    const [low = 0, high = 0] = [minimum[i % size], maximum[i % size]];
    return low + (byte / 255) * (high - low);
  });
}

/** A file of a version, as the service gives it. */
export async function fileOf(
  { name, version }: Pick<Model, 'name' | 'version'>,
  file: string,
  signal: AbortSignal,
): Promise<ArrayBuffer> {
  const { value } = await answered(signal, (options) =>
    service.GET('/models/{name}/files/{file}', {
      params: { path: { name, file }, query: { version } },
      parseAs: 'arrayBuffer',
      ...options,
    }),
  );
  return value;
}

const PRIOR_SAMPLES = 768;
/** Fewer of large items: numbers of them all, and of a request, which bodies have a limit for. */
const PRIOR_NUMBERS = 12e6;
const NUMBERS_AT_ONCE = 1e6;
const LEAST_PARTS = 6;
const MOST_PARTS = 64;
const PRIOR_SEED = 1;

/** How many samples of the prior, and in how many requests; of conditional models each class has as many requests. */
function priorParts({ itemSize, classes }: Model): { readonly parts: number; readonly atOnce: number } {
  const samples = Math.max(1, Math.min(PRIOR_SAMPLES, Math.floor(PRIOR_NUMBERS / itemSize)));
  const largest = Math.max(1, Math.floor(NUMBERS_AT_ONCE / itemSize));
  const each = classes?.length ?? 1;
  const rounds = Math.max(1, Math.ceil(Math.max(LEAST_PARTS, samples / largest) / each));
  const parts = Math.min(samples, Math.max(MOST_PARTS, Math.ceil(samples / largest)), rounds * each);
  return { parts, atOnce: Math.max(1, Math.floor(samples / parts)) };
}

/** Samples of the prior, as the model itself encodes them: for models that come without reference items. */
export async function priorPoints(
  model: Model,
  abort: AbortSignal,
  onProgress: (share: number) => void,
): Promise<Points> {
  const { parts, atOnce } = priorParts(model);
  const count = parts * atOnce;
  const codes = new Float32Array(count * model.latentSize);
  const items = new Float32Array(count * model.itemSize);
  const classes = model.classes?.length ?? 0;
  const labels = new Uint16Array(count);
  for (let part = 0; part < parts; part++) {
    const start = part * atOnce;
    const label = classes > parts ? Math.floor((part * classes) / parts) : part % Math.max(1, classes);
    labels.fill(label, start, start + atOnce);
    const query = queryWithLabel(model, label);
    const sampled = await answered(abort, (options) =>
      service.POST('/sample', {
        params: { query: { ...query, count: atOnce, seed: PRIOR_SEED + part } },
        headers: { accept: FLOAT32 },
        parseAs: 'arrayBuffer',
        ...options,
      }),
    );
    const encoded = await answered(abort, (options) =>
      service.POST('/encode', {
        params: { query },
        headers: { accept: FLOAT32, 'content-type': FLOAT32 },
        body: sampled.value,
        bodySerializer: (body) => body as unknown as ArrayBuffer,
        parseAs: 'arrayBuffer',
        ...options,
      }),
    );
    items.set(float32Of(sampled), start * model.itemSize);
    const pairs = float32Of(encoded);
    for (let i = 0; i < atOnce; i++) {
      // Mean and log-variance of each in turn.
      codes.set(
        pairs.subarray(2 * i * model.latentSize, (2 * i + 1) * model.latentSize),
        (start + i) * model.latentSize,
      );
    }
    onProgress((part + 1) / parts);
  }
  return {
    kind: 'prior',
    count,
    codes,
    map: undefined,
    plane: undefined,
    labels: model.classes && labels,
    labelNames: model.classes ?? [],
    sheet: signal(model.input.kind === 'image' ? sheetOf(items, count, model.input) : undefined),
    rows: model.input.kind === 'vector' ? items : undefined,
  };
}

const SHEET_COLUMNS = 32;

function sheetOf(items: Float32Array, count: number, input: ImageInput): Sheet {
  const [, height, width] = input.shape;
  const size = items.length / count;
  const picture = document.createElement('canvas');
  picture.width = SHEET_COLUMNS * width;
  picture.height = Math.ceil(count / SHEET_COLUMNS) * height;
  const context = picture.getContext('2d');
  for (let i = 0; i < count; i++) {
    const tile = imageDataOf(items.subarray(i * size, (i + 1) * size), input);
    context?.putImageData(tile, (i % SHEET_COLUMNS) * width, Math.floor(i / SHEET_COLUMNS) * height);
  }
  return { picture, columns: SHEET_COLUMNS, tile: [width, height] };
}

/** Where the values of each column lie, from rows one after the other. */
export function columnRanges(rows: Float32Array, { shape }: VectorInput): [number, number][] {
  const [columns] = shape;
  const ranges = Array.from({ length: columns }, (): [number, number] => [
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ]);
  for (const [i, value] of rows.entries()) {
    const range = ranges[i % columns];
    if (range === undefined || Number.isNaN(value)) continue;
    if (value < range[0]) range[0] = value;
    if (value > range[1]) range[1] = value;
  }
  return ranges;
}

/** By what the service said of a version, so that one which took its place has points of its own. */
const loaded = new WeakMap<ModelDetails, Promise<Points>>();

/** The points of a model, asked for once; what failed may be asked for again. */
export function pointsOf(model: Model, onProgress: (share: number) => void): Promise<Points> {
  const known = loaded.get(model.details);
  if (known !== undefined) return known;
  // Not of the view that asked: another one may want them as well.
  const { signal: never } = new AbortController();
  const { reference } = model.details;
  const points =
    reference === undefined ? priorPoints(model, never, onProgress) : referencePoints(model, reference, never);
  loaded.set(model.details, points);
  points.catch(() => loaded.delete(model.details));
  return points;
}
