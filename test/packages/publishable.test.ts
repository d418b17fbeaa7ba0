import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteDirectory } from '../support/temporary-directory.js';
import { manifestOf, type Packed, pack, publishable, ROOT, workspaces } from './support/publishable.js';

/** What a package may hold; its sources are there for its source maps and for going to a definition. */
const EXPECTED =
  /^(?:LICENSE|README\.md|package\.json|openapi\.json|bin\/[\w-]+\.js|presets\/[\w-]+\.json|assets\/.+\.(?:css|js|html|svg|woff2)(?:\.(?:br|gz))?|dist\/.+|src\/.+\.tsx?)$/;
const UNWANTED = /\.test\.|\.tsbuildinfo$|\.onnx$|(?:^|\/)(?:test|tests|node_modules)\//;
const MAX_BYTES = 1 << 20;

const newDirectory = suiteDirectory();
const packed = new Map<string, Packed>();

beforeAll(async () => {
  const destination = newDirectory();
  for (const workspace of publishable) packed.set(workspace.manifest.name, await pack(workspace, destination));
}, 300_000);

function packedOf(name: string): Packed {
  const found = packed.get(name);
  if (found === undefined) throw new Error(`${name} was not packed`);
  return found;
}

it('models, training, server and client are published', () => {
  const names = publishable.map(({ manifest }) => manifest.name);
  expect(names).toEqual(expect.arrayContaining(['@elbo/models', '@elbo/training', '@elbo/server', '@elbo/client']));
});

describe.each(publishable)('$manifest.name', (workspace) => {
  const { directory, manifest } = workspace;

  it('has the version, license and Node.js of the whole, and says what it is for', () => {
    const root = manifestOf(ROOT);
    expect(manifest).toMatchObject({ version: root.version, license: root.license, engines: root.engines });
    expect(manifest).toMatchObject({ description: expect.any(String), keywords: expect.any(Array) });
    expect(readFileSync(join(directory, 'LICENSE'), 'utf8')).toBe(readFileSync(join(ROOT, 'LICENSE'), 'utf8'));
  });

  it('depends on packages of the same version that are published, too', () => {
    for (const [name, range] of Object.entries(manifest.dependencies ?? {})) {
      const own = workspaces.find((other) => other.manifest.name === name);
      if (own === undefined) continue;
      expect(publishable, `${name} is private`).toContain(own);
      expect(range).toBe(manifest.version);
    }
  });

  it('needs no script at install or publish', () => {
    const scripts = Object.keys(manifest.scripts ?? {});
    expect(scripts.filter((name) => /^(?:pre|post)|^(?:install|prepare)$/.test(name))).toEqual([]);
  });

  it('holds what it needs and nothing else', () => {
    const { files, bytes } = packedOf(manifest.name);
    expect(files.filter((file) => !EXPECTED.test(file) || UNWANTED.test(file))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'package.json', 'dist/index.js']));
    expect(bytes).toBeLessThan(MAX_BYTES);
    for (const source of files.filter((file) => /^src\/.*\.tsx?$/.test(file))) {
      const built = source.replace(/^src\//, 'dist/').replace(/\.tsx?$/, '');
      expect(files).toEqual(expect.arrayContaining([`${built}.js`, `${built}.d.ts`]));
    }
  });

  it('has source maps whose sources are there', () => {
    const { files } = packedOf(manifest.name);
    const maps = files.filter((file) => file.endsWith('.map'));
    const missing = maps.flatMap((map) => {
      const { sources } = JSON.parse(readFileSync(join(directory, map), 'utf8')) as { sources: string[] };
      return sources.filter((source) => !files.includes(posix.join(dirname(map), source)));
    });
    expect(missing).toEqual([]);
    const scripts = files.filter((file) => /^dist\/.*\.(?:js|d\.ts)$/.test(file));
    const unmapped = scripts.filter((file) => {
      const [, map] = /^\/\/# sourceMappingURL=(.+)$/m.exec(readFileSync(join(directory, file), 'utf8')) ?? [];
      return map !== undefined && !files.includes(posix.join(dirname(file), map));
    });
    expect(unmapped).toEqual([]);
  });

  it('is right by publint', async () => {
    const bytes = readFileSync(packedOf(manifest.name).tarball);
    const tarball = new Uint8Array(bytes).buffer;
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it('has types that are right for every ESM resolution, by attw', async () => {
    const { resolve } = createRequire(import.meta.url);
    const attw = join(dirname(resolve('@arethetypeswrong/cli/package.json')), 'dist', 'index.js');
    const options = ['--profile', 'esm-only', '--no-definitely-typed', '--format', 'ascii', '--no-emoji', '--no-color'];
    const run = promisify(execFile)(process.execPath, [attw, packedOf(manifest.name).tarball, ...options]);
    await expect(run).resolves.toMatchObject({ stdout: expect.stringContaining(`"${manifest.name}"`) });
  });

  it('leads to files that are there, by its exports and commands', () => {
    const { files } = packedOf(manifest.name);
    const targets = [...leavesOf(manifest.exports), ...leavesOf(manifest.bin)].filter((path) => !path.includes('*'));
    const effects = Array.isArray(manifest.sideEffects) ? (manifest.sideEffects as string[]) : [];
    for (const path of [...targets, ...effects.filter((effect) => !effect.includes('*'))]) {
      expect(files).toContain(posix.normalize(path));
    }
    for (const path of leavesOf(manifest.bin)) expect(existsSync(join(directory, path))).toBe(true);
  });
});

function leavesOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(leavesOf) : [];
}
