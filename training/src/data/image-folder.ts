import { constants, type Stats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import sharp, { type Metadata } from 'sharp';
import { DataError } from './data-error.js';
import { exampleSize } from './dataset.js';
import { channelsFirst } from './number-array.js';
import { type DataProgress, Fingerprint, type RowStore, type StoredRows } from './row-store.js';
import { asDataError, checkUnchanged, type FileStamp, oneLine, stampOf } from './source-file.js';

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

/** As the service that reads them later: the largest phone cameras have 50 million. */
const MAX_PIXELS = 50_000_000;
const MAX_FILE_BYTES = 256 << 20;

/** Where most headers end; for others, the whole file is read. */
const HEADER_BYTES = 64 << 10;

const STATS_AT_ONCE = 16;

/** Grey level behind transparent pixels and beside narrow images, as in the manifest's `resize`. */
const BACKGROUND = { r: 0, g: 0, b: 0 };

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
  const files = await listImages(folder);
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
  const examine = async (path: string): Promise<ImageFile> => {
    const whole = join(folder, path);
    const stats = await stat(whole).catch((error: unknown) => {
      throw asDataError(error, whole);
    });
    checkFile(whole, stats);
    return { path, ...stampOf(stats) };
  };
  for await (const file of inOrder(found, STATS_AT_ONCE, examine)) files.push(file);
  return files;
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
  checkSignature(path, start);
  try {
    return await sharp(start, { limitInputPixels: MAX_PIXELS }).metadata();
  } catch {
    // The header may be longer, or the image damaged.
    const whole = await readBytes(path, file, file.size);
    return sharp(whole, { limitInputPixels: MAX_PIXELS })
      .metadata()
      .catch((error: Error) => {
        throw imageError(path, error);
      });
  }
}

/** [channels, height, width] bytes. */
async function decodeImage(folder: string, file: ImageFile, shape: readonly number[]): Promise<Uint8Array> {
  const path = join(folder, file.path);
  const bytes = await readBytes(path, file, file.size);
  checkSignature(path, bytes);
  const [channels, height, width] = shape;
  try {
    // What the service does to an image that it is sent.
    const pipeline = sharp(bytes, { failOn: 'warning', limitInputPixels: MAX_PIXELS, pages: 1 })
      .autoOrient()
      .flatten({ background: BACKGROUND })
      .resize(width, height, { fit: 'contain', background: BACKGROUND });
    const { data, info } = await (channels === 1 ? pipeline.greyscale() : pipeline)
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== channels) throw new Error(`decoded to ${info.channels} channels`);
    return channels === 1 ? data : planes(data, height * width, channels);
  } catch (error) {
    throw imageError(path, error as Error);
  }
}

let places: { readonly pixels: number; readonly of: Int32Array } | undefined;

/** [pixels, channels] as [channels, pixels]. */
function planes(data: Uint8Array, pixels: number, channels: number): Uint8Array {
  if (places?.pixels !== pixels) places = { pixels, of: channelsFirst(pixels, channels) };
  const target = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) target[places.of[i]] = data[i];
  return target;
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

const PNG = Buffer.from('89504e470d0a1a0a', 'hex');
const JPEG = Buffer.from('ffd8ff', 'hex');

/** Only these three: sharp knows many more formats, whose parsers need not see what calls itself an image. */
function checkSignature(path: string, bytes: Buffer): void {
  const webp = bytes.toString('latin1', 0, 4) === 'RIFF' && bytes.toString('latin1', 8, 12) === 'WEBP';
  if (webp || bytes.subarray(0, 8).equals(PNG) || bytes.subarray(0, 3).equals(JPEG)) return;
  throw new DataError(`${path}: it begins with 0x${bytes.toString('hex', 0, 8)}; expected a PNG, JPEG or WebP image`);
}

function imageError(path: string, error: Error): DataError {
  if (error.message.includes('pixel limit')) {
    return new DataError(`${path}: the image has more than ${MAX_PIXELS} pixels; expected fewer`, { cause: error });
  }
  return new DataError(`${path}: the image is damaged or unsupported (${oneLine(error.message)})`, { cause: error });
}
