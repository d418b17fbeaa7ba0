import type { Schemas } from '@elbo/client';
import { answered, FLOAT32, float32Of, service } from '../api/service.js';
import { columnsOf, type ImageInput, type Model, queryOf, queryWithLabel, type VectorInput } from './model.js';
import { base64PngOf, imageDataOf, valuesOf } from './pixels.js';
import { itemOf, type Points, tileOf } from './points.js';
import { seededNumbers } from './random.js';
import { rowsOfText } from './table-text.js';

/** An item for the model to judge, with its body for the service. */
export interface GivenInput<Body = Schemas['Inputs'] | File> {
  readonly name: string;
  /** The same for the same content, and for nothing else. */
  readonly key: string;
  /** As the model sees it, or, of a file, as nearly as a browser converts it. */
  readonly values: Float32Array;
  /** An image file is sent as it is, so that a command can name it. */
  readonly body: Body;
  /** Class that it came with. */
  readonly label?: number | undefined;
}

function given(
  name: string,
  values: Float32Array,
  body: Schemas['Inputs'],
  label?: number,
): GivenInput<Schemas['Inputs']> {
  return { name, key: `${name} ${JSON.stringify(body)}`, values, body, label };
}

/** The body of a call, and the type that says what it is. */
export function bodyOf({ body }: GivenInput) {
  if (!(body instanceof File)) return { body };
  return { headers: { 'content-type': body.type }, body, bodySerializer: (whole: unknown) => whole as File };
}

let files = 0;

export const IMAGE_TYPES = ['image/png', 'image/jpeg', 'image/webp'];

/** @throws {Error} in words, where a browser cannot read the file or the model does not take it */
export async function inputsOfFile(model: Model, file: File): Promise<GivenInput[]> {
  const { input } = model;
  if (input.kind === 'vector') {
    return rowsOfText(await file.text(), input).map((values, row) =>
      inputOfRow(model, values, `${file.name}, row ${row + 1}`),
    );
  }
  if (!IMAGE_TYPES.includes(file.type)) {
    throw new Error(
      `${file.name} is ${file.type === '' ? 'of no known type' : file.type}; expected a PNG, JPEG or WebP image.`,
    );
  }
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} cannot be read as an image.`);
  });
  const values = fitted(bitmap, input);
  bitmap.close();
  return [{ name: file.name, key: `file ${files++}`, values, body: file }];
}

/** An image in the model's size, by the rule of its manifest. */
function fitted(bitmap: ImageBitmap, input: ImageInput): Float32Array {
  const [channels, height, width] = input.shape;
  const { fit, background } = input.resize;
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  if (context === null) return new Float32Array(channels * width * height);
  context.fillStyle = `rgb(${background} ${background} ${background})`;
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = 'high';
  const scales = [width / bitmap.width, height / bitmap.height] as const;
  const scale = fit === 'cover' ? Math.max(...scales) : Math.min(...scales);
  const [wide, high] = fit === 'fill' ? [width, height] : [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - wide) / 2, (height - high) / 2, wide, high);
  const pixels = context.getImageData(0, 0, width, height);
  return valuesOf(channels === 1 ? grey(pixels) : pixels, input);
}

function grey(image: ImageData): ImageData {
  const { data } = image;
  for (let i = 0; i < data.length; i += 4) {
    const luminance = 0.2126 * (data[i] ?? 0) + 0.7152 * (data[i + 1] ?? 0) + 0.0722 * (data[i + 2] ?? 0);
    data[i] = data[i + 1] = data[i + 2] = luminance;
  }
  return image;
}

/** A row, by the names of its columns where they have names. */
export function inputOfRow(
  { input }: Model,
  values: Float32Array,
  name = 'Row',
  label?: number,
): GivenInput<Schemas['Inputs']> {
  if (input.kind !== 'vector' || input.columns === undefined) {
    return given(name, values, { inputs: [Array.from(values, jsonNumber)] }, label);
  }
  const row = Object.fromEntries(
    columnsOf(input).map(({ name, categories }, i) => {
      const value = values[i] ?? Number.NaN;
      return [name, categories?.[value] ?? jsonNumber(value)];
    }),
  );
  return given(name, values, { rows: [row] }, label);
}

/** Shortest decimal that is the same float32. */
function jsonNumber(value: number): number | null {
  if (Number.isNaN(value)) return null;
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return Number(value.toPrecision(9));
}

function inputOfValues(model: Model, values: Float32Array, name: string, label?: number): GivenInput {
  if (model.input.kind === 'vector') return inputOfRow(model, values, name, label);
  const picture = imageDataOf(values, model.input);
  // What is sent is the picture, so what is shown is, too.
  return given(name, valuesOf(picture, model.input), { inputs: [base64PngOf(picture)] }, label);
}

/** An item of the reference; undefined while its picture is on its way. */
export function inputOfItem(model: Model, points: Points, item: number): GivenInput<Schemas['Inputs']> | undefined {
  const name = `Reference item ${item}`;
  const label = points.labels?.[item];
  if (model.input.kind === 'image') {
    const tile = tileOf(points, item, model.input);
    return tile && given(name, valuesOf(tile, model.input), { inputs: [base64PngOf(tile)] }, label);
  }
  const values = itemOf(points, item, model);
  return values && inputOfRow(model, values, name, label);
}

export async function inputOfSample(
  model: Model,
  seed: number,
  label: number | undefined,
  signal: AbortSignal,
): Promise<GivenInput> {
  const query = label === undefined ? queryOf(model) : queryWithLabel(model, label);
  const answer = await answered(signal, (options) =>
    service.POST('/sample', {
      params: { query: { ...query, count: 1, seed } },
      headers: { accept: FLOAT32 },
      parseAs: 'arrayBuffer',
      ...options,
    }),
  );
  return inputOfValues(model, float32Of(answer), `Sample of seed ${seed}`, label);
}

/** Noise that no model knows: each number anywhere in its range. */
export function inputOfNoise(
  model: Model,
  seed: number,
  ranges: readonly (readonly [number, number])[] | undefined,
): GivenInput {
  const next = seededNumbers(seed);
  const { input, itemSize } = model;
  const values = Float32Array.from({ length: itemSize }, (_, i) => {
    const [low, high] = input.kind === 'image' ? input.value_range : noiseRange(input, i, ranges);
    const value = low + next() * (high - low);
    return isCategory(input, i) ? Math.floor(value) : value;
  });
  return inputOfValues(model, values, `Noise of seed ${seed}`);
}

function isCategory(input: ImageInput | VectorInput, column: number): boolean {
  return input.kind === 'vector' && input.columns?.[column]?.kind === 'categorical';
}

function noiseRange(
  input: VectorInput,
  column: number,
  ranges: readonly (readonly [number, number])[] | undefined,
): readonly [number, number] {
  const described = input.columns?.[column];
  if (described?.kind === 'categorical') return [0, described.categories.length - 1e-3];
  const [low, high] = ranges?.[column] ?? [0, 0];
  return high > low ? [low, high] : [Math.max(input.value_range[0], -3), Math.min(input.value_range[1], 3)];
}
