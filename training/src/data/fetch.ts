import { createHash } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import { join } from 'node:path';
import { closestMatch } from 'leven';
import { DataError } from './data-error.js';
import { datasetNames } from './datasets.js';
import type { DataProgress } from './row-store.js';
import { oneLine } from './source-file.js';

/** A file as it is published. */
export interface PublishedFile {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, lower-case hexadecimal. */
  readonly sha256: string;
}

export interface PublishedDataset {
  /** URLs of folders that hold the files; tried in order. */
  readonly mirrors: readonly string[];
  readonly files: readonly PublishedFile[];
}

export interface FetchOptions {
  /** The files are put into its folder NAME. */
  readonly dataDir: string;
  /** A URL whose folder NAME holds the files, in place of the public mirrors. */
  readonly mirror?: string | undefined;
  /** Milliseconds without a byte after which a mirror is given up; 30 seconds. */
  readonly timeout?: number | undefined;
  readonly onProgress?: DataProgress | undefined;
}

export interface FetchResult {
  readonly directory: string;
  /** Names of files that were there already, and of ones that were downloaded. */
  readonly present: readonly string[];
  readonly downloaded: readonly string[];
}

/** The data sets that can be fetched, with the hashes of the files as they are distributed. */
export const publishedDatasets: ReadonlyMap<string, PublishedDataset> = new Map([
  [
    'mnist',
    {
      mirrors: [
        'https://ossci-datasets.s3.amazonaws.com/mnist/',
        'https://storage.googleapis.com/cvdf-datasets/mnist/',
      ],
      files: [
        {
          name: 'train-images-idx3-ubyte.gz',
          bytes: 9_912_422,
          sha256: '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609',
        },
        {
          name: 'train-labels-idx1-ubyte.gz',
          bytes: 28_881,
          sha256: '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c',
        },
        {
          name: 't10k-images-idx3-ubyte.gz',
          bytes: 1_648_877,
          sha256: '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6',
        },
        {
          name: 't10k-labels-idx1-ubyte.gz',
          bytes: 4_542,
          sha256: 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6',
        },
      ],
    },
  ],
  [
    'fashion-mnist',
    {
      mirrors: [
        'https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/',
        'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
      ],
      files: [
        {
          name: 'train-images-idx3-ubyte.gz',
          bytes: 26_421_880,
          sha256: '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84',
        },
        {
          name: 'train-labels-idx1-ubyte.gz',
          bytes: 29_515,
          sha256: 'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845',
        },
        {
          name: 't10k-images-idx3-ubyte.gz',
          bytes: 4_422_102,
          sha256: '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073',
        },
        {
          name: 't10k-labels-idx1-ubyte.gz',
          bytes: 5_148,
          sha256: '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5',
        },
      ],
    },
  ],
]);

const TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 5;
/** Chunks of a response that wait for the disk. */
const MAX_WAITING = 16;
/** How often a download that broke off half-way is taken up again at one mirror. */
const MAX_RESUMES = 5;

/** Why one mirror did not give a file. */
class MirrorError extends Error {
  /** Whether it is worth asking the same mirror again. */
  readonly progressed: boolean;

  constructor(message: string, progressed = false) {
    super(message);
    this.progressed = progressed;
  }
}

/**
 * Downloads a data set's files, as far as they are not there already. A download that broke off goes on where it
 * stopped, at this or another mirror; a file appears under its name when its SHA-256 is right.
 * @throws {DataError} where the name is none that can be fetched, a file of another content is in the way, no mirror
 *   gives the right bytes, or they cannot be written
 */
export function fetchDataset(name: string, options: FetchOptions): Promise<FetchResult> {
  const published = publishedDatasets.get(name);
  if (published === undefined) throw notPublished(name);
  return fetchFiles(name, published, options);
}

/** As `fetchDataset`, of any files. */
export async function fetchFiles(
  name: string,
  { mirrors, files }: PublishedDataset,
  { dataDir, mirror, timeout = TIMEOUT_MS, onProgress }: FetchOptions,
): Promise<FetchResult> {
  const bases = (mirror === undefined ? mirrors : [`${mirror.replace(/\/+$/, '')}/${name}/`]).map(parseBase);
  const directory = join(dataDir, name);
  await writing(directory, () => mkdir(directory, { recursive: true }));
  const present: string[] = [];
  const downloaded: string[] = [];
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  let before = 0;
  for (const file of files) {
    const download = new Download(file, join(directory, file.name), timeout, (bytes) =>
      onProgress?.(before + bytes, total, `fetching ${file.name}`),
    );
    if (await download.isThere()) present.push(file.name);
    else {
      await download.fromAnyOf(bases, name);
      downloaded.push(file.name);
    }
    before += file.bytes;
    onProgress?.(before, total, file.name);
  }
  return { directory, present, downloaded };
}

/** One file on its way. */
class Download {
  readonly #file: PublishedFile;
  readonly #path: string;
  /** What has come so far. */
  readonly #partial: string;
  readonly #timeout: number;
  readonly #onBytes: (bytes: number) => void;

  constructor(file: PublishedFile, path: string, timeout: number, onBytes: (bytes: number) => void) {
    this.#file = file;
    this.#path = path;
    this.#partial = `${path}.partial`;
    this.#timeout = timeout;
    this.#onBytes = onBytes;
  }

  async isThere(): Promise<boolean> {
    const stats = await statOf(this.#path);
    if (stats === undefined) return false;
    if (!stats.isFile()) throw new DataError(`${this.#path}: not a regular file; expected none, or the published one`);
    const found = await hashOfFile(this.#path);
    if (found === this.#file.sha256) return true;
    throw new DataError(
      `${this.#path}: the SHA-256 is ${found}; expected ${this.#file.sha256}: remove the file to fetch it again`,
    );
  }

  async fromAnyOf(bases: readonly URL[], name: string): Promise<void> {
    const failures: string[] = [];
    for (const base of bases) {
      const url = new URL(this.#file.name, base);
      for (let resumes = 0; ; resumes++) {
        try {
          await this.#accept(await this.#from(url));
          return;
        } catch (error) {
          if (!(error instanceof MirrorError)) throw error;
          if (error.progressed && resumes < MAX_RESUMES) continue;
          failures.push(`${url.href}: ${error.message}`);
          break;
        }
      }
    }
    throw new DataError(`${name}: ${this.#file.name} could not be fetched: ${failures.join('; ')}`);
  }

  /**
   * Asks a mirror for what is missing.
   * @returns whether some of it was there before
   */
  async #from(url: URL): Promise<boolean> {
    const stats = await statOf(this.#partial);
    let have = stats?.isFile() ? stats.size : 0;
    if (have > this.#file.bytes) {
      await rm(this.#partial, { force: true });
      have = 0;
    }
    if (have === this.#file.bytes) return true;
    const body = await this.#request(url, have);
    const { response } = body;
    try {
      const start = startOf(response, have);
      const length = Number(response.headers['content-length'] ?? Number.NaN);
      if (start + length !== this.#file.bytes && !Number.isNaN(length)) {
        throw new MirrorError(`the file has ${start + length} bytes; expected ${this.#file.bytes}`);
      }
      await this.#write(body, start);
      return start > 0;
    } finally {
      response.destroy();
    }
  }

  async #write(body: Body, start: number): Promise<void> {
    const file = await writing(this.#partial, () => open(this.#partial, start === 0 ? 'w' : 'r+'));
    let position = start;
    try {
      for await (const chunk of body.chunks()) {
        if (position + chunk.length > this.#file.bytes) {
          throw new MirrorError(`there are more than ${this.#file.bytes} bytes; expected no more`);
        }
        await writing(this.#partial, () => writeAll(file, chunk, position));
        position += chunk.length;
        this.#onBytes(position);
      }
      await writing(this.#partial, () => file.sync());
    } catch (error) {
      if (error instanceof DataError || error instanceof MirrorError) throw error;
      const reason = oneLine((error as Error).message);
      throw new MirrorError(`broke off after ${position} of ${this.#file.bytes} bytes (${reason})`, position > start);
    } finally {
      await file.close();
    }
    if (position < this.#file.bytes) {
      throw new MirrorError(`broke off after ${position} of ${this.#file.bytes} bytes`, position > start);
    }
  }

  /** Gives the file its name, or removes it where its content is wrong. */
  async #accept(resumed: boolean): Promise<void> {
    const found = await hashOfFile(this.#partial);
    if (found === this.#file.sha256) return writing(this.#path, () => rename(this.#partial, this.#path));
    await rm(this.#partial, { force: true });
    // Where the first part came from elsewhere, the whole may still be right.
    throw new MirrorError(`the SHA-256 is ${found}; expected ${this.#file.sha256}`, resumed);
  }

  #silence(): Error {
    return new Error(`no byte for ${this.#timeout / 1000} s`);
  }

  /** The response to a request, after redirections. */
  async #request(url: URL, have: number, redirects = 0): Promise<Body> {
    const body = await new Promise<Body>((resolve, reject) => {
      const get = url.protocol === 'https:' ? httpsGet : httpGet;
      const request = get(
        url,
        {
          agent: false,
          timeout: this.#timeout,
          // A compressed file must come as it is.
          headers: { 'accept-encoding': 'identity', ...(have > 0 && { range: `bytes=${have}-` }) },
        },
        (answer) => {
          // Else the response would say that it was aborted, not why.
          request.on('timeout', () => answer.destroy(this.#silence()));
          resolve(new Body(answer));
        },
      );
      request.on('timeout', () => request.destroy(this.#silence()));
      request.on('error', (error) => reject(new MirrorError(oneLine(error.message))));
    });
    const { statusCode = 0, headers } = body.response;
    if (statusCode === 200 || statusCode === 206) return body;
    body.response.destroy();
    if (statusCode === 416 && have > 0) {
      await rm(this.#partial, { force: true });
      return this.#request(url, 0, redirects);
    }
    if (statusCode >= 300 && statusCode < 400 && headers.location !== undefined) {
      if (redirects === MAX_REDIRECTS) throw new MirrorError(`redirected more than ${MAX_REDIRECTS} times`);
      return this.#request(redirected(headers.location, url), have, redirects + 1);
    }
    throw new MirrorError(`HTTP status ${statusCode}`);
  }
}

/** Where in the file the response begins: a server need not honour a range. */
function startOf({ statusCode, headers }: IncomingMessage, have: number): number {
  if (statusCode === 200) return 0;
  const range = headers['content-range'];
  const start = /^bytes (\d+)-/.exec(range ?? '')?.[1];
  if (start === undefined || Number(start) !== have) {
    throw new MirrorError(`the range is ${JSON.stringify(range)}; expected one from byte ${have}`);
  }
  return have;
}

/**
 * The bytes of a response as they come. It listens from the moment that the response is there, so that it misses no
 * end, and, unlike the stream's own iterator, hands over all that came before the connection broke.
 */
class Body {
  readonly response: IncomingMessage;
  readonly #waiting: Buffer[] = [];
  #ended = false;
  #failure: Error | undefined;
  #wake = (): void => {};

  constructor(response: IncomingMessage) {
    this.response = response;
    response
      .on('data', (chunk: Buffer) => {
        this.#waiting.push(chunk);
        if (this.#waiting.length >= MAX_WAITING) response.pause();
        this.#wake();
      })
      .on('end', () => {
        this.#ended = true;
        this.#wake();
      })
      .on('error', (error) => {
        this.#failure ??= error;
        this.#wake();
      })
      .on('close', () => {
        this.#failure ??= new Error('the connection was closed');
        this.#wake();
      });
  }

  async *chunks(): AsyncGenerator<Buffer> {
    for (;;) {
      const chunk = this.#waiting.shift();
      if (chunk !== undefined) {
        yield chunk;
        this.response.resume();
      } else if (this.#ended) return;
      else if (this.#failure !== undefined) throw this.#failure;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

function redirected(location: string, from: URL): URL {
  const url = URL.canParse(location, from.href) ? new URL(location, from.href) : undefined;
  if (url !== undefined && isHttp(url)) return url;
  throw new MirrorError(`redirected to ${JSON.stringify(location)}; expected an http or https URL`);
}

const isHttp = ({ protocol }: URL) => protocol === 'http:' || protocol === 'https:';

function parseBase(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && isHttp(url)) return url;
  throw new DataError(`mirror is ${JSON.stringify(text)}; expected an http or https URL`);
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch (error) {
    throw new DataError(`${path}: cannot be read (${oneLine((error as Error).message)})`, { cause: error });
  }
  return hash.digest('hex');
}

async function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch(() => undefined);
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** What the disk refuses is no fault of a mirror. */
async function writing<Result>(path: string, action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (error) {
    throw new DataError(`${path}: cannot be written (${oneLine((error as Error).message)})`, { cause: error });
  }
}

function notPublished(name: string): DataError {
  const names = [...publishedDatasets.keys()];
  if (datasetNames.includes(name)) return new DataError(`${name} is generated: there is nothing to fetch`);
  const closest = closestMatch(name, names, { maxDistance: Math.ceil(name.length / 2) });
  const suggestion = closest === undefined ? '' : `; did you mean ${closest}?`;
  return new DataError(`${JSON.stringify(name)} cannot be fetched; expected one of ${names.join(', ')}${suggestion}`);
}
