import { chmodSync, mkdirSync, readdirSync, readFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Column } from '@elbo/models';
import { DataError } from '@elbo/training/data/data-error';
import { defaultCacheDirectory, Fingerprint, RowStore, type StoredRows } from '@elbo/training/data/row-store';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const KEY = '0123456789abcdef0123456789abcdef';
const columns: Column[] = [
  { name: 'ä', kind: 'numeric' },
  { name: 'b', kind: 'categorical', categories: ['ö', 'u'] },
];
const values = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 251);

/** Stores the values in two pieces, and counts how often they are made. */
function keeper(cacheDir: string, memoryBudget = 0) {
  const store = new RowStore({ cacheDir, memoryBudget });
  let made = 0;
  const keep = (bytes: number | undefined): Promise<StoredRows> =>
    store.keep(KEY, bytes, async (sink) => {
      made++;
      await sink(values.subarray(0, 300));
      await sink(values.subarray(300));
      return { count: 100, shape: [10], dtype: 'uint8', columns };
    });
  return { store, keep, made: () => made };
}

const expectValues = async (rows: StoredRows) => {
  expect(rows).toMatchObject({ count: 100, shape: [10], dtype: 'uint8', columns });
  expect(Buffer.compare(await bytesOf(rows), values)).toBe(0);
};

describe('rows beyond the memory budget', () => {
  test.each([1000, undefined])('become a file that is used again (size known before: %s)', async (bytes) => {
    const { keep, made } = keeper(temporaryDirectory());
    const first = await keep(bytes);
    await expectValues(first);
    const second = await keep(bytes);
    await expectValues(second);
    expect(second).toEqual(first);
    expect(made()).toBe(1);
  });

  test('within it stay in memory and leave nothing behind', async () => {
    const directory = temporaryDirectory();
    const { keep } = keeper(join(directory, 'cache'), 1000);
    for (const bytes of [1000, undefined]) {
      const rows = await keep(bytes);
      expect(rows.storage.kind === 'memory' && rows.storage.values.buffer instanceof SharedArrayBuffer).toBe(true);
      await expectValues(rows);
    }
    expect(readdirSync(directory)).toEqual([]);
  });

  test('are made again where the file was changed in any way', async () => {
    const directory = temporaryDirectory();
    const { keep } = keeper(directory);
    await keep(1000);
    const path = join(directory, `${KEY}.rows`);
    const whole = readFileSync(path);
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 0, max: 255 }), async (at, change) => {
        const bytes = Buffer.from(whole);
        const position = at % bytes.length;
        if (change === 0) writeFileSync(path, bytes.subarray(0, position));
        else {
          bytes.writeUInt8(bytes.readUInt8(position) ^ change, position);
          writeFileSync(path, bytes);
        }
        await expectValues(await keep(1000));
      }),
      { numRuns: 150 },
    );
  });

  test('come back into memory where the budget has grown', async () => {
    const directory = temporaryDirectory();
    await keeper(directory).keep(1000);
    const { keep, made } = keeper(directory, 1000);
    const rows = await keep(undefined);
    expect(rows.storage.kind).toBe('memory');
    await expectValues(rows);
    expect(made()).toBe(0);
  });

  test('leave nothing where making them fails', async () => {
    const directory = temporaryDirectory();
    const { store } = keeper(directory);
    for (const bytes of [1000, undefined]) {
      const failing = store.keep(KEY, bytes, async (sink) => {
        await sink(values);
        throw new DataError('the source is bad');
      });
      await expect(failing).rejects.toThrow('the source is bad');
    }
    expect(readdirSync(directory)).toEqual([]);
  });

  test('clear away what killed processes left a day ago, and nothing else', async () => {
    const directory = temporaryDirectory();
    const old = (Date.now() - 25 * 3_600_000) / 1000;
    for (const [name, time] of [
      ['.rows-123-0123456789abcdef', old],
      ['.rows-124-0123456789abcdef', Date.now() / 1000],
      ['notes.txt', old],
    ] as const) {
      writeFileSync(join(directory, name), 'x');
      utimesSync(join(directory, name), time, time);
    }
    await keeper(directory).keep(1000);
    expect(readdirSync(directory).sort()).toEqual(['.rows-124-0123456789abcdef', `${KEY}.rows`, 'notes.txt'].sort());
  });

  test('a cache file that changes while it is used is refused', async () => {
    const { keep } = keeper(temporaryDirectory());
    const rows = await keep(1000);
    truncateSync(rows.storage.kind === 'file' ? rows.storage.path : '', 1100);
    await expect(bytesOf(rows)).rejects.toThrow(/has changed since it was read first/);
  });
});

describe('a cache directory that cannot be used is named, with the option', () => {
  test('because it is a file, or not writable', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'file'), '');
    await expect(keeper(join(directory, 'file')).keep(1000)).rejects.toThrow(
      /file: converted data cannot be kept there \(.*\); name another directory by --cache-dir DIR/,
    );
    // The superuser may write anywhere.
    if (process.getuid?.() === 0) return;
    mkdirSync(join(directory, 'locked'));
    chmodSync(join(directory, 'locked'), 0o500);
    await expect(keeper(join(directory, 'locked')).keep(1000)).rejects.toThrow(/locked.*EACCES/);
  });

  test('because there is no room', async () => {
    const directory = temporaryDirectory();
    await expect(keeper(directory).keep(2 ** 52)).rejects.toThrow(
      /MiB are free; expected 4294967296 MiB for converted data: free some, or name another directory by --cache-dir DIR/,
    );
  });
});

describe('the name of a conversion', () => {
  const stamp = { size: 10, mtimeMs: 5 };
  test('changes with the conversion, the path, the size and the time, and with nothing else', () => {
    const name = (conversion: string, path: string, size: number, mtimeMs: number) =>
      new Fingerprint(conversion).add(path, { size, mtimeMs }).digest();
    const base = name('npy', '/a', 10, 5);
    expect(name('npy', '/b/../a', 10, 5)).toBe(base);
    const others = [
      name('npz', '/a', 10, 5),
      name('npy', '/b', 10, 5),
      name('npy', '/a', 11, 5),
      name('npy', '/a', 10, 6),
    ];
    expect(new Set([base, ...others]).size).toBe(5);
    expect(new Fingerprint('npy').add('/a', stamp).add('/b', stamp).digest()).not.toBe(base);
    expect(base).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe('the default directory', () => {
  afterEach(() => vi.unstubAllEnvs());
  test('is ELBO_CACHE_DIR, else the one of the system', () => {
    vi.stubEnv('ELBO_CACHE_DIR', '/mine');
    vi.stubEnv('XDG_CACHE_HOME', '/xdg');
    expect(defaultCacheDirectory()).toBe('/mine');
    vi.stubEnv('ELBO_CACHE_DIR', '');
    expect(defaultCacheDirectory()).toBe(join('/xdg', 'elbo'));
    vi.stubEnv('XDG_CACHE_HOME', '');
    expect(defaultCacheDirectory().startsWith(homedir())).toBe(true);
  });
});
