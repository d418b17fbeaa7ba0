import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { DataError } from '@elbo/training/data/data-error';
import { type FetchOptions, fetchDataset, fetchFiles, publishedDatasets } from '@elbo/training/data/fetch';
import { describe, expect, onTestFinished, test } from 'vitest';
import { dataDirectory } from '../support/data-directory.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const content = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251));
const file = { name: 'images.gz', bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };

interface Mirror {
  readonly url: string;
  /** Method, path and range of every request. */
  readonly requests: string[];
}

/** A server on a port of its own; `answer` gets the first byte that was asked for, 0 without a range. */
async function mirror(answer: (start: number, response: ServerResponse, number: number) => void): Promise<Mirror> {
  const requests: string[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const { range } = request.headers;
    requests.push(`${request.url} ${range ?? 'whole'}`);
    answer(Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0), response, requests.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/files/`, requests };
}

/** As a server that honours ranges answers. */
function send(start: number, response: ServerResponse, bytes: Uint8Array = content): void {
  if (start > 0) {
    response.writeHead(206, {
      'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
      'content-length': bytes.length - start,
    });
  } else response.writeHead(200, { 'content-length': bytes.length });
  response.end(bytes.subarray(start));
}

const sendAll = (start: number, response: ServerResponse): void => send(start, response);

/** Promises everything, sends a part, and hangs up. */
function breakOff(start: number, response: ServerResponse, after: number): void {
  response.writeHead(start > 0 ? 206 : 200, {
    'content-length': content.length - start,
    ...(start > 0 && { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }),
  });
  response.write(content.subarray(start, start + after), () => response.destroy());
}

const fetchFrom = (mirrors: readonly Mirror[], dataDir: string, options: Partial<FetchOptions> = {}) =>
  fetchFiles('set', { mirrors: mirrors.map(({ url }) => url), files: [file] }, { dataDir, ...options });

async function complaint(fetching: Promise<unknown>): Promise<string> {
  const outcome = await fetching.catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).not.toContain('\n');
  return message;
}

const expectWhole = (dataDir: string) => {
  expect(readdirSync(join(dataDir, 'set'))).toEqual(['images.gz']);
  expect(Buffer.compare(readFileSync(join(dataDir, 'set', 'images.gz')), content)).toBe(0);
};

describe('fetching a file', () => {
  test('downloads it whole, reports how far it is, and leaves it alone the next time', async () => {
    const server = await mirror(sendAll);
    const dataDir = temporaryDirectory();
    const progress: number[] = [];
    const first = await fetchFrom([server], dataDir, { onProgress: (done, total) => progress.push(done / total) });
    expect(first).toEqual({ directory: join(dataDir, 'set'), downloaded: ['images.gz'], present: [] });
    expectWhole(dataDir);
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    expect((await fetchFrom([server], dataDir)).present).toEqual(['images.gz']);
    expect(server.requests).toEqual(['/files/images.gz whole']);
  });

  test('goes on where a connection broke, within a run', async () => {
    const server = await mirror((start, response, number) =>
      number < 3 ? breakOff(start, response, 100_000) : send(start, response),
    );
    const dataDir = temporaryDirectory();
    await fetchFrom([server], dataDir);
    expectWhole(dataDir);
    expect(server.requests).toHaveLength(3);
    expect(server.requests[1]).toMatch(/bytes=[1-9]\d*-/);
  });

  test('goes on at another mirror, and in a later run', async () => {
    const broken = await mirror((start, response, number) =>
      number === 1 ? breakOff(start, response, 50_000) : response.writeHead(503).end(),
    );
    const dataDir = temporaryDirectory();
    expect(await complaint(fetchFrom([broken], dataDir))).toMatch(
      /^set: images\.gz could not be fetched: http:.*\/files\/images\.gz: HTTP status 503$/,
    );
    expect(readdirSync(join(dataDir, 'set'))).toEqual(['images.gz.partial']);
    const server = await mirror(sendAll);
    await fetchFrom([broken, server], dataDir);
    expectWhole(dataDir);
    expect(server.requests[0]).toMatch(/bytes=[1-9]\d*-/);
  });

  test('starts again where a server does not honour ranges, or says that there is none', async () => {
    for (const answer of [
      (_: number, response: ServerResponse) => send(0, response),
      (start: number, response: ServerResponse) => (start > 0 ? response.writeHead(416).end() : send(0, response)),
    ]) {
      const server = await mirror(answer);
      const dataDir = temporaryDirectory();
      mkdirSync(join(dataDir, 'set'));
      writeFileSync(join(dataDir, 'set', 'images.gz.partial'), content.subarray(0, 1000));
      await fetchFrom([server], dataDir);
      expectWhole(dataDir);
    }
  });

  test('starts again where the part that was there is wrong or too long', async () => {
    for (const partial of [Buffer.alloc(1000, 1), Buffer.alloc(content.length, 1), Buffer.alloc(content.length + 1)]) {
      const server = await mirror(sendAll);
      const dataDir = temporaryDirectory();
      mkdirSync(join(dataDir, 'set'));
      writeFileSync(join(dataDir, 'set', 'images.gz.partial'), partial);
      await fetchFrom([server], dataDir);
      expectWhole(dataDir);
    }
  });

  test('follows redirections', async () => {
    const server = await mirror(sendAll);
    const front = await mirror((_, response) => response.writeHead(302, { location: `${server.url}elsewhere` }).end());
    const relative = await mirror((start, response, number) =>
      number === 1 ? response.writeHead(301, { location: '/moved' }).end() : send(start, response),
    );
    for (const first of [front, relative]) {
      const dataDir = temporaryDirectory();
      await fetchFrom([first], dataDir);
      expectWhole(dataDir);
    }
    expect(relative.requests).toEqual(['/files/images.gz whole', '/moved whole']);
  });

  test('takes the next mirror where one fails', async () => {
    const missing = await mirror((_, response) => response.writeHead(404).end());
    const wrong = await mirror((start, response) => send(start, response, Buffer.alloc(content.length, 5)));
    const server = await mirror(sendAll);
    const dataDir = temporaryDirectory();
    await fetchFrom([missing, wrong, server], dataDir);
    expectWhole(dataDir);
    expect(wrong.requests).toHaveLength(1);
  });

  test("takes the files from the folder of that name under a mirror of one's own", async () => {
    const server = await mirror(sendAll);
    const dataDir = temporaryDirectory();
    await fetchFrom([], dataDir, { mirror: server.url });
    expectWhole(dataDir);
    expect(server.requests).toEqual(['/files/set/images.gz whole']);
  });
});

describe('a file that cannot be fetched: one line, and nothing under its name', () => {
  const nothing = (dataDir: string) => expect(existsSync(join(dataDir, 'set', 'images.gz'))).toBe(false);

  test.each([
    ['404', (_: number, response: ServerResponse) => response.writeHead(404).end(), /images\.gz: HTTP status 404$/],
    [
      'wrong bytes',
      (start: number, response: ServerResponse) => send(start, response, Buffer.alloc(content.length, 5)),
      /the SHA-256 is [0-9a-f]{64}; expected [0-9a-f]{64}$/,
    ],
    [
      'another size',
      (start: number, response: ServerResponse) => send(start, response, content.subarray(1)),
      /the file has 299999 bytes; expected 300000$/,
    ],
    [
      'endless bytes',
      (_: number, response: ServerResponse) => {
        response.writeHead(200);
        // Once the client is gone, Node 24 calls back with an error at once, before the response counts as destroyed.
        const more = (error?: Error | null) => {
          if (error == null && !response.destroyed) response.write(content, more);
        };
        more();
      },
      /there are more than 300000 bytes/,
    ],
    [
      'redirections without end',
      (_: number, response: ServerResponse) => response.writeHead(302, { location: '/again' }).end(),
      /redirected more than 5 times$/,
    ],
    [
      'a redirection elsewhere',
      (_: number, response: ServerResponse) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
      /redirected to "file:\/\/\/etc\/passwd"; expected an http or https URL$/,
    ],
    [
      'connections that always break',
      (_: number, response: ServerResponse) => response.destroy(),
      /images\.gz: socket hang up$/,
    ],
  ] as const)('%s', async (_, answer, expected) => {
    const server = await mirror(answer);
    const dataDir = temporaryDirectory();
    expect(await complaint(fetchFrom([server], dataDir))).toMatch(expected);
    nothing(dataDir);
  });

  test('a wrong range', async () => {
    const server = await mirror((_, response) =>
      response.writeHead(206, { 'content-range': 'bytes 5-299999/300000' }).end(content.subarray(5)),
    );
    const dataDir = temporaryDirectory();
    mkdirSync(join(dataDir, 'set'));
    writeFileSync(join(dataDir, 'set', 'images.gz.partial'), content.subarray(0, 1000));
    expect(await complaint(fetchFrom([server], dataDir))).toMatch(
      /the range is "bytes 5-299999\/300000"; expected one from byte 1000$/,
    );
  });

  test('a server that hangs, before and after its first bytes', async () => {
    for (const [answer, expected] of [
      [() => {}, /images\.gz: no byte for 0\.3 s$/],
      [
        (_: number, response: ServerResponse) => {
          response.writeHead(200);
          response.write(content.subarray(0, 10));
        },
        /broke off after 10 of 300000 bytes \(no byte for 0\.3 s\)$/,
      ],
    ] as const) {
      const server = await mirror(answer);
      const dataDir = temporaryDirectory();
      expect(await complaint(fetchFrom([server], dataDir, { timeout: 300 }))).toMatch(expected);
      nothing(dataDir);
    }
  });

  test('nobody listens, or the mirror is no URL', async () => {
    const dataDir = temporaryDirectory();
    const closed = await mirror(sendAll);
    expect(await complaint(fetchFrom([], dataDir, { mirror: 'http://127.0.0.1:1' }))).toMatch(
      /images\.gz: connect ECONNREFUSED/,
    );
    for (const url of ['ftp://example.org', 'nonsense', 'file:///tmp']) {
      expect(await complaint(fetchFrom([closed], dataDir, { mirror: url }))).toMatch(
        /^mirror is ".*"; expected an http or https URL$/,
      );
    }
    expect(closed.requests).toEqual([]);
  });

  test('another file is in its place', async () => {
    const server = await mirror(sendAll);
    const dataDir = temporaryDirectory();
    mkdirSync(join(dataDir, 'set'));
    writeFileSync(join(dataDir, 'set', 'images.gz'), 'mine');
    expect(await complaint(fetchFrom([server], dataDir))).toMatch(
      /images\.gz: the SHA-256 is .*: remove the file to fetch it again$/,
    );
    expect(readFileSync(join(dataDir, 'set', 'images.gz'), 'utf8')).toBe('mine');
  });

  test('the disk refuses', async () => {
    const server = await mirror(sendAll);
    const dataDir = temporaryDirectory();
    writeFileSync(join(dataDir, 'set'), '');
    expect(await complaint(fetchFrom([server], dataDir))).toMatch(/set: cannot be written \(EEXIST/);
    if (!existsSync('/dev/full')) return;
    // Every write to /dev/full fails as on a full disk.
    const full = temporaryDirectory();
    mkdirSync(join(full, 'set'));
    symlinkSync('/dev/full', join(full, 'set', 'images.gz.partial'));
    expect(await complaint(fetchFrom([server], full))).toMatch(
      /images\.gz\.partial: cannot be written \(ENOSPC: no space left on device/,
    );
  });

  test('a name that is none', async () => {
    const dataDir = temporaryDirectory();
    expect(() => fetchDataset('mnits', { dataDir })).toThrow(
      '"mnits" cannot be fetched; expected one of mnist, fashion-mnist; did you mean mnist?',
    );
    expect(() => fetchDataset('shapes', { dataDir })).toThrow('shapes is generated: there is nothing to fetch');
    expect(() => fetchDataset('../mnist', { dataDir })).toThrow(DataError);
  });
});

const dataDir = dataDirectory();

test.skipIf(dataDir === undefined)(
  'the published hashes are those of the published files (needs a data directory)',
  async () => {
    for (const name of publishedDatasets.keys()) {
      const { present, downloaded } = await fetchDataset(name, {
        dataDir: dataDir ?? '',
        mirror: 'http://127.0.0.1:1',
      });
      expect([present.length, downloaded.length]).toEqual([4, 0]);
    }
  },
);
