import { type InputDescription, itemSize, numbersOf } from '@elbo/models';
import { bytesFromBase64 } from './base64.js';
import { CodecError } from './errors.js';
import { numbersFromFloat32 } from './float32.js';
import { itemFromImage } from './image-input.js';
import { named, numbersFromJson, numbersFromList, numbersFromRow } from './numbers.js';

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
    decode: async () => {
      const size = itemSize(input);
      const data = new Float32Array(inputs.length * size);
      for (const [i, item] of inputs.entries()) {
        const field = `inputs[${i}]`;
        const target = data.subarray(i * size, (i + 1) * size);
        if (Array.isArray(item)) numbersFromJson(item, field, numbersOf(input), target);
        else if (typeof item === 'string') await decodeBase64Image(item, field, input, target);
        else throw new CodecError('INVALID_INPUT', `${field} is ${named(item)}; expected ${expectedItem(input)}`);
      }
      return data;
    },
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
      const { columns, ...numbers } = numbersOf(input);
      if (columns === undefined) {
        throw new CodecError('INVALID_INPUT', "rows[0] has names; this model's columns have none: send inputs");
      }
      const description = { ...numbers, columns, names: new Set(columns.map(({ name }) => name)) };
      const size = itemSize(input);
      const data = new Float32Array(rows.length * size);
      for (const [i, row] of rows.entries()) {
        numbersFromRow(row, `rows[${i}]`, description, data.subarray(i * size, (i + 1) * size));
      }
      return data;
    },
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

/** One item as `0.1,0.2,…`. */
export function itemsFromList(list: string, field: string, input: InputDescription): EncodedItems {
  return { count: 1, decode: async () => numbersFromList(list, field, numbersOf(input)) };
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
