import {
  encodeCodes,
  encodeMap,
  encodeUint16,
  type ImageInput,
  type InputDescription,
  MAX_REFERENCE_COLUMNS,
  RandomSource,
  REFERENCE_FILES,
  type Reference,
} from '@elbo/models';
import { chunksOf, type Examples, exampleSize, spread } from '../data/dataset.js';
import type { Program } from '../engines/engine.js';
import { runOverExamples, unitInterval } from '../evaluation/batches.js';
import { neighbourMap } from '../evaluation/neighbour-map.js';
import { principalComponents } from '../evaluation/principal-components.js';
import { ImageForm } from '../pictures/image-form.js';
import { imageGrid } from '../pictures/image-grid.js';
import { encodeWithin } from '../pictures/sheet.js';

/** The longer side of a tile at the most, in pixels; halved until the sheet is small enough, as far as the least. */
const LARGEST_SIDE = 64;
const LEAST_SIDE = 16;

/** Of a sheet: browsers on phones decode no larger picture. */
const SHEET_PIXELS = 4096 ** 2;

/** Of a sheet of up to 2,000 tiles; larger ones may have more, in proportion. */
const SHEET_BYTES = 480_000;
const TILES_OF_BYTES = 2000;

/** Of the numbers of a manifest that nothing is computed exactly from. */
const SIGNIFICANT_DIGITS = 6;

export interface ReferenceRequest {
  /** The exported one: x, and of a conditional model label, → mean. */
  readonly encoder: Program;
  /** The validation part. */
  readonly examples: Examples;
  readonly input: InputDescription;
  readonly latentSize: number;
  /** Of a conditional model. */
  readonly classes?: number | undefined;
  /** Of each class, where the data have classes. */
  readonly classNames?: readonly string[] | undefined;
  /** Examples that are taken at the most, evenly spread. */
  readonly points: number;
  /** Decides the map. */
  readonly seed: number;
  readonly onProgress?: ((done: number, total: number, text: string) => void) | undefined;
}

/** What a version tells of its latent space by examples: part of the manifest, and the files that this names. */
export interface ReferenceData {
  readonly reference: Reference;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/**
 * Encodes held-out examples and draws maps of them.
 * @returns undefined where no examples are asked for, or one has a code that is not finite
 */
export async function referenceData(request: ReferenceRequest): Promise<ReferenceData | undefined> {
  const { encoder, input, latentSize, classes, classNames, points, seed, onProgress } = request;
  if (points === 0) return undefined;
  const examples = spread(request.examples, points);
  const { count, labels } = examples;
  const { mean: codes } = await runOverExamples(encoder, examples, ['mean'], { classes });
  if (!codes.every(Number.isFinite)) return undefined;

  const files = new Map<string, Uint8Array>();
  const { bytes, minimum, maximum } = encodeCodes(codes, latentSize);
  files.set(REFERENCE_FILES.codes, bytes);
  const map = await neighbourMap(codes, latentSize, RandomSource.derived(seed, 'map'), (done, total) =>
    onProgress?.(done, total, 'map of the latent space'),
  );
  if (map !== undefined) files.set(REFERENCE_FILES.map, encodeMap(map));
  const isLabelled = labels !== undefined && classNames !== undefined;
  if (isLabelled) files.set(REFERENCE_FILES.labels, encodeUint16(Uint16Array.from(labels)));
  const items = await (input.kind === 'image' ? sprites(examples, input, files) : rows(examples, files));
  const components = principalComponents(codes, latentSize);
  return {
    reference: {
      count,
      codes: { file: REFERENCE_FILES.codes, minimum, maximum },
      ...(map && { map: { file: REFERENCE_FILES.map } }),
      principal_components: {
        mean: Array.from(components.mean, rounded),
        axes: [Array.from(components.axes[0], rounded), Array.from(components.axes[1], rounded)],
        explained: [rounded(components.shares[0]), rounded(components.shares[1])],
      },
      ...(isLabelled && { labels: { file: REFERENCE_FILES.labels, names: [...classNames] } }),
      ...(items && { items }),
    },
    files,
  };
}

/** All images in one picture, which is put with the files. */
async function sprites(
  examples: Examples,
  input: ImageInput,
  files: Map<string, Uint8Array>,
): Promise<Reference['items']> {
  const { count } = examples;
  const most = Math.floor(Math.sqrt(SHEET_PIXELS / count));
  const budget = SHEET_BYTES * Math.max(1, count / TILES_OF_BYTES);
  for (let side = Math.min(LARGEST_SIDE, most); ; side = Math.floor(side / 2)) {
    const form = new ImageForm(input, side);
    const [, height, width] = form.shape;
    // About as wide as it is high.
    const columns = Math.ceil(Math.sqrt((count * height) / width));
    const bytes = await sheetOf(examples, form, columns, budget);
    if (bytes.length > budget && side >= 2 * LEAST_SIDE) continue;
    files.set(REFERENCE_FILES.sprites, bytes);
    const isScaled = height !== input.shape[1] || width !== input.shape[2];
    return { kind: 'sprites', file: REFERENCE_FILES.sprites, columns, ...(isScaled && { tile: [width, height] }) };
  }
}

async function sheetOf(examples: Examples, form: ImageForm, columns: number, budget: number): Promise<Buffer> {
  const size = exampleSize(examples);
  const tiles: Uint8Array[] = [];
  for await (const { values } of chunksOf(examples)) {
    const numbers = unitInterval(values);
    for (let at = 0; at < numbers.length; at += size) {
      // As bytes at once: thousands of images as numbers would fill the memory.
      tiles.push(Uint8Array.from(Uint8ClampedArray.from(form.shown(numbers.subarray(at, at + size)), (v) => v * 255)));
    }
  }
  return encodeWithin(imageGrid(tiles, { shape: form.shape, columns }), budget);
}

/** The rows of a table that is not too wide, which are put with the files. */
async function rows(examples: Examples, files: Map<string, Uint8Array>): Promise<Reference['items'] | undefined> {
  const size = exampleSize(examples);
  if (size > MAX_REFERENCE_COLUMNS) return undefined;
  const bytes = Buffer.alloc(examples.count * size * Float32Array.BYTES_PER_ELEMENT);
  let at = 0;
  for await (const { values } of chunksOf(examples)) {
    for (const value of unitInterval(values)) at = bytes.writeFloatLE(value, at);
  }
  files.set(REFERENCE_FILES.rows, bytes);
  return { kind: 'rows', file: REFERENCE_FILES.rows };
}

function rounded(value: number): number {
  return Number(value.toPrecision(SIGNIFICANT_DIGITS));
}
