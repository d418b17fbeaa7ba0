import { type InputDescription, itemSize, numbersOf } from '@elbo/models';
import { bytesFromBase64 } from './base64.js';
import { CodecError } from './errors.js';
import { numbersFromFloat32 } from './float32.js';
import { itemFromImage } from './image-input.js';
import type { FileOfForm } from './multipart.js';
import { numbersFromNpy } from './npy.js';
import { type NamedNumbers, named, numbersFromJson, numbersFromList, numbersFromRow } from './numbers.js';

/** Items whose number is known before the dear part of decoding. */
export interface EncodedItems {
  readonly count: number;
  /** @returns count x input shape */
  decode(): Promise<Float32Array>;
}

export const IMAGE_TYPES = ['image/png', 'image/jpeg', 'image/webp'] as const;

/**
 * `inputs` of a JSON body: each item numbers, flat or nested, or a base64 image (a data URL, too).
 * @throws {CodecError} INVALID_INPUT; decode() throws INVALID_IMAGE and IMAGE_TOO_LARGE as well
 */
export function itemsFromJson(inputs: readonly unknown[], input: InputDescription): EncodedItems {
  return {
    count: inputs.length,
    decode: () => eachItem(inputs, input, (item, i, target) => decodeJsonItem(item, `inputs[${i}]`, input, target)),
  };
}

/**
 * `rows` of a JSON body: objects of a table's columns by name.
 * @throws {CodecError} INVALID_INPUT
 */
export function itemsFromRows(
  rows: readonly Readonly<Record<string, unknown>>[],
  input: InputDescription,
): EncodedItems {
  return {
    count: rows.length,
    decode: async () => {
      if (input.kind === 'image')
        throw new CodecError('INVALID_INPUT', 'rows is given; this model takes images: inputs');
      const description = namedNumbersOf(input);
      if (description === undefined) {
        throw new CodecError('INVALID_INPUT', "rows[0] has names; this model's columns have none: send inputs");
      }
      return eachItem(rows, input, (row, i, target) => numbersFromRow(row, `rows[${i}]`, description, target));
    },
  };
}

/**
 * A decoder of one item as JSON: numbers, a base64 image, or an object of a table's columns by name. The decoder throws
 * what those of `itemsFromJson` and `itemsFromRows` do.
 * @param input of the model
 */
export function jsonItemDecoder(
  input: InputDescription,
): (item: unknown, field: string, target: Float32Array) => Promise<void> {
  const description = namedNumbersOf(input);
  return async (item, field, target) => {
    if (description !== undefined && typeof item === 'object' && item !== null && !Array.isArray(item)) {
      numbersFromRow(item as Readonly<Record<string, unknown>>, field, description, target);
    } else await decodeJsonItem(item, field, input, target);
  };
}

/** One image file. */
export function itemsFromImage(bytes: Uint8Array, field: string, input: InputDescription): EncodedItems {
  return {
    count: 1,
    decode: async () => {
      const data = new Float32Array(itemSize(input));
      await decodeImage(bytes, field, input, data);
      return data;
    },
  };
}

/** One image as base64 or base64url. */
export function itemsFromBase64(text: string, field: string, input: InputDescription): EncodedItems {
  return {
    count: 1,
    decode: async () => {
      const data = new Float32Array(itemSize(input));
      await decodeBase64Image(text, field, input, data);
      return data;
    },
  };
}

/** @throws {CodecError} INVALID_INPUT */
export function itemsFromFloat32(bytes: Uint8Array, input: InputDescription): EncodedItems {
  const data = numbersFromFloat32(bytes, numbersOf(input));
  return { count: data.length / itemSize(input), decode: async () => data };
}

/** @throws {CodecError} INVALID_INPUT */
export function itemsFromNpy(bytes: Uint8Array, input: InputDescription): EncodedItems {
  const data = numbersFromNpy(bytes, { ...numbersOf(input), pixels: input.kind === 'image' });
  return { count: data.length / itemSize(input), decode: async () => data };
}

/** The image files of a form, in their order; decode() throws for the first that is none. */
export function itemsFromFiles(files: readonly FileOfForm[], input: InputDescription): EncodedItems {
  return {
    count: files.length,
    decode: () => eachItem(files, input, ({ bytes, field }, _, target) => decodeImage(bytes, field, input, target)),
  };
}

/** One item as `0.1,0.2,…`. */
export function itemsFromList(list: string, field: string, input: InputDescription): EncodedItems {
  return { count: 1, decode: async () => numbersFromList(list, field, numbersOf(input)) };
}

/** @returns count x input shape */
async function eachItem<Item>(
  items: readonly Item[],
  input: InputDescription,
  decode: (item: Item, index: number, target: Float32Array) => Promise<void> | void,
): Promise<Float32Array> {
  const size = itemSize(input);
  const data = new Float32Array(items.length * size);
  for (const [i, item] of items.entries()) await decode(item, i, data.subarray(i * size, (i + 1) * size));
  return data;
}

async function decodeJsonItem(
  item: unknown,
  field: string,
  input: InputDescription,
  target: Float32Array,
): Promise<void> {
  if (Array.isArray(item)) numbersFromJson(item, field, numbersOf(input), target);
  else if (typeof item === 'string') await decodeBase64Image(item, field, input, target);
  else throw new CodecError('INVALID_INPUT', `${field} is ${named(item)}; expected ${expectedItem(input)}`);
}

/** Undefined where the columns have no names. */
function namedNumbersOf(input: InputDescription): NamedNumbers | undefined {
  const { columns, ...numbers } = numbersOf(input);
  return columns && { ...numbers, columns, names: new Set(columns.map(({ name }) => name)) };
}

async function decodeBase64Image(
  text: string,
  field: string,
  input: InputDescription,
  target: Float32Array,
): Promise<void> {
  const base64 = text.replace(/^data:image\/(?:png|jpeg|webp);base64,/, '');
  await decodeImage(bytesFromBase64(base64, field), field, input, target);
}

async function decodeImage(
  bytes: Uint8Array,
  field: string,
  input: InputDescription,
  target: Float32Array,
): Promise<void> {
  if (input.kind !== 'image') {
    throw new CodecError('INVALID_INPUT', `${field} is an image; this model takes ${expectedItem(input)}`);
  }
  await itemFromImage(bytes, field, input, target);
}

function expectedItem(input: InputDescription): string {
  const numbers = `an array of ${itemSize(input)} numbers`;
  return input.kind === 'image' ? `${numbers} or a base64 image` : numbers;
}
