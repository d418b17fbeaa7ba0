import { constants, type Stats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  checkImageSignature,
  ImageError,
  type ImageInput,
  imageError,
  imagePixels,
  MAX_IMAGE_PIXELS,
} from '@elbo/models';
import sharp, { type Metadata } from 'sharp';
import { DataError } from './data-error.js';
import { exampleSize } from './dataset.js';
import { type DataProgress, Fingerprint, type RowStore, type StoredRows } from './row-store.js';
import { asDataError, checkUnchanged, type FileStamp, stampOf } from './source-file.js';

/** What images are brought to. */
export interface ImageForm {
  readonly height?: number | undefined;
  readonly width?: number | undefined;
  readonly colour?: 'grey' | 'rgb' | undefined;
}

export interface ImageRows extends StoredRows {
  /** Of each image the path below the folder, with slashes; sorted. */
  readonly paths: readonly string[];
}

/** One image of a folder. */
interface ImageFile extends FileStamp {
  /** Below the folder, with slashes on every system. */
  readonly path: string;
}

const IMAGE_NAME = /\.(?:png|jpe?g|webp)$/i;

/** Where the images of a folder differ in size and none is asked for. */
const DEFAULT_SIDE = 64;
const MAX_VALUES = 1 << 24;

const MAX_FILE_BYTES = 256 << 20;

/** Where most headers end; for others, the whole file is read. */
const HEADER_BYTES = 64 << 10;

const STATS_AT_ONCE = 16;

/** How an image of another size becomes one of the data set's; the manifest says it to the service. */
export const RESIZE: ImageInput['resize'] = { fit: 'contain', background: 0 };

// A cache of decoded images only grows a process that sees each once; as many images are decoded at once as there are cores.
sharp.cache(false);
sharp.concurrency(1);

/**
 * Reads the PNG, JPEG and WebP images of a folder and all folders in it, in the order of their paths. They are turned as
 * their EXIF tags say, flattened onto black and fitted into one size: the one that is asked for, else their own where
 * all have the same, else 64 x 64. They become grey where all are grey, else RGB.
 * @throws {DataError} where there is no image, or one cannot be read (which is named)
 */
export async function readImageFolder(
  folder: string,
  form: ImageForm,
  store: RowStore,
  onProgress?: DataProgress,
): Promise<ImageRows> {
  return readImages(folder, await listImages(folder), form, store, onProgress);
}

/** As `readImageFolder`, of image files in their order. */
export async function readImageFiles(paths: readonly string[], form: ImageForm, store: RowStore): Promise<ImageRows> {
  const files: ImageFile[] = [];
  for await (const file of inOrder(paths, STATS_AT_ONCE, (path) => imageFile('', path))) files.push(file);
  return readImages('', files, form, store);
}

/** Whether a file is one that `readImageFolder` would read, by its name. */
export const isImageName = (path: string) => IMAGE_NAME.test(path);

async function readImages(
  folder: string,
  files: readonly ImageFile[],
  form: ImageForm,
  store: RowStore,
  onProgress?: DataProgress,
): Promise<ImageRows> {
  const fingerprint = new Fingerprint(
    `images ${form.height ?? 'own'} x ${form.width ?? 'own'} ${form.colour ?? 'own'}`,
  );
  for (const file of files) fingerprint.add(join(folder, file.path), file);
  const key = fingerprint.digest();
  const paths = files.map(({ path }) => path);
  const kept = await store.kept(key);
  if (kept !== undefined && kept.count === files.length) return { ...kept, paths };

  const shape = await commonShape(folder, files, form, onProgress);
  const description = { count: files.length, shape, dtype: 'uint8' } as const;
  const rows = await store.keep(key, files.length * exampleSize({ shape }), async (sink) => {
    const decode = (file: ImageFile) => decodeImage(folder, file, shape);
    let done = 0;
    for await (const pixels of inOrder(files, availableParallelism(), decode)) {
      await sink(pixels);
      onProgress?.(++done, files.length, `decoding images of ${folder}`);
    }
    return description;
  });
  return { ...rows, paths };
}

/** Results in the order of the items, a few of them in the making at a time. */
async function* inOrder<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const running: Promise<Result>[] = [];
  try {
    for (const item of items) {
      if (running.length === atOnce) yield await (running.shift() as Promise<Result>);
      const result = work(item);
      // Until its turn comes nobody listens to it.
      result.catch(() => {});
      running.push(result);
    }
    while (running.length > 0) yield await (running.shift() as Promise<Result>);
  } finally {
    await Promise.allSettled(running);
  }
}

async function listImages(folder: string): Promise<ImageFile[]> {
  const found: string[] = [];
  const seen = new Set<string>();
  const pending = [''];
  // After all others, so that what lies in the folder goes by its own name.
  const linked: string[] = [];
  for (let below = pending.pop(); below !== undefined; below = pending.pop() ?? linked.shift()) {
    const directory = join(folder, below);
    try {
      const { dev, ino } = await stat(directory, { bigint: true });
      // A link may lead back to where it came from.
      if (seen.has(`${dev}:${ino}`)) continue;
      seen.add(`${dev}:${ino}`);
      const entries = await readdir(directory, { withFileTypes: true });
      for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
        if (entry.name.startsWith('.')) continue;
        const path = below === '' ? entry.name : `${below}/${entry.name}`;
        if (entry.isDirectory()) pending.push(path);
        else if (IMAGE_NAME.test(entry.name)) found.push(path);
        else if (entry.isSymbolicLink() && (await leadsToDirectory(join(folder, path)))) linked.push(path);
      }
    } catch (error) {
      throw asDataError(error, directory);
    }
  }
  if (found.length === 0) {
    throw new DataError(
      `${folder}: the folder holds no image; expected .png, .jpg, .jpeg or .webp files in it or below`,
    );
  }
  // By code units, not as people of one language sort, so that the order is the same everywhere.
  found.sort((a, b) => (a < b ? -1 : 1));
  const files: ImageFile[] = [];
  for await (const file of inOrder(found, STATS_AT_ONCE, (path) => imageFile(folder, path))) files.push(file);
  return files;
}

async function imageFile(folder: string, path: string): Promise<ImageFile> {
  const whole = join(folder, path);
  const stats = await stat(whole).catch((error: unknown) => {
    throw asDataError(error, whole);
  });
  checkFile(whole, stats);
  return { path, ...stampOf(stats) };
}

async function leadsToDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

function checkFile(path: string, stats: Stats): void {
  if (!stats.isFile()) throw new DataError(`${path}: not a regular file; expected an image`);
  if (stats.size === 0) throw new DataError(`${path}: the file is empty; expected an image`);
  if (stats.size > MAX_FILE_BYTES) {
    throw new DataError(`${path}: the file has ${stats.size} bytes; expected an image of at most ${MAX_FILE_BYTES}`);
  }
}

/** [channels, height, width] that all images are brought to. */
async function commonShape(
  folder: string,
  files: readonly ImageFile[],
  form: ImageForm,
  onProgress: DataProgress | undefined,
): Promise<number[]> {
  let grey = true;
  let own: { height: number; width: number } | undefined;
  let equal = true;
  if (form.colour === undefined || form.height === undefined || form.width === undefined) {
    let done = 0;
    const examine = (file: ImageFile) => metadataOf(folder, file);
    for await (const { autoOrient, space } of inOrder(files, availableParallelism(), examine)) {
      own ??= autoOrient;
      equal &&= own.height === autoOrient.height && own.width === autoOrient.width;
      grey &&= space === 'b-w' || space === 'grey16';
      onProgress?.(++done, files.length, `looking at images of ${folder}`);
    }
  }
  const fitting = equal && own !== undefined ? own : { height: DEFAULT_SIDE, width: DEFAULT_SIDE };
  const { height = fitting.height, width = fitting.width, colour = grey ? 'grey' : 'rgb' } = form;
  const shape = [colour === 'grey' ? 1 : 3, height, width];
  if (exampleSize({ shape }) > MAX_VALUES) {
    throw new DataError(
      `${folder}: an image is ${shape.join(' x ')}; expected at most ${MAX_VALUES} numbers: bring images to another size by --image-size HxW`,
    );
  }
  return shape;
}

async function metadataOf(folder: string, file: ImageFile): Promise<Metadata> {
  const path = join(folder, file.path);
  const start = await readBytes(path, file, HEADER_BYTES);
  try {
    checkImageSignature(start);
  } catch (error) {
    throw asImageError(path, error);
  }
  try {
    return await sharp(start, { limitInputPixels: MAX_IMAGE_PIXELS }).metadata();
  } catch {
    // The header may be longer, or the image damaged.
    const whole = await readBytes(path, file, file.size);
    return sharp(whole, { limitInputPixels: MAX_IMAGE_PIXELS })
      .metadata()
      .catch((error: Error) => {
        throw asImageError(path, imageError(error));
      });
  }
}

/** [channels, height, width] bytes. */
async function decodeImage(folder: string, file: ImageFile, shape: readonly number[]): Promise<Uint8Array> {
  const path = join(folder, file.path);
  const bytes = await readBytes(path, file, file.size);
  const [channels, height, width] = shape;
  return imagePixels(bytes, {
    shape: [channels === 1 ? 1 : 3, height, width],
    colour: channels === 1 ? 'grey' : 'rgb',
    resize: RESIZE,
  }).catch((error: unknown) => {
    throw asImageError(path, error);
  });
}

/** The first `length` bytes of an image file. */
async function readBytes(path: string, expected: FileStamp, length: number): Promise<Buffer> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      checkFile(path, stats);
      checkUnchanged(path, stats, expected);
      const bytes = Buffer.allocUnsafeSlow(Math.min(length, stats.size));
      let filled = 0;
      while (filled < bytes.length) {
        const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asDataError(error, path);
  }
}

function asImageError(path: string, error: unknown): unknown {
  return error instanceof ImageError ? new DataError(`${path} ${error.message}`, { cause: error }) : error;
}
