import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { suiteDirectory } from '../support/temporary-directory.js';
import { manifestOf, type PackageManifest, pack, publishable, ROOT } from './support/publishable.js';

const run = promisify(execFile);
const newDirectory = suiteDirectory();
let project: string;

/**
 * A project that has the packed packages and, of all others, those that each of them declares as a dependency and no more: a
 * registry may be out of reach, so these are links to the ones that are installed here.
 */
beforeAll(async () => {
  project = newDirectory();
  const tarballs = newDirectory();
  for (const workspace of publishable) {
    const { name, dependencies = {} } = workspace.manifest;
    const { tarball } = await pack(workspace, tarballs);
    const directory = installed(name);
    mkdirSync(directory, { recursive: true });
    await run('tar', ['-xzf', tarball, '-C', directory, '--strip-components=1']);
    for (const dependency of Object.keys(dependencies)) {
      if (publishable.some(({ manifest }) => manifest.name === dependency)) continue;
      const places = [workspace.directory, ROOT].map((place) => join(place, 'node_modules', dependency));
      const target = places.find(existsSync);
      if (target === undefined) throw new Error(`${dependency} of ${name} is not installed`);
      const link = join(directory, 'node_modules', dependency);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(realpathSync(target), link);
    }
  }
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'project', private: true, type: 'module' }));
}, 300_000);

function installed(name: string): string {
  return join(project, 'node_modules', name);
}

/** Runs a command of a package to its end. */
function command(name: string, bin: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const path = manifestOf(installed(name)).bin?.[bin];
  if (path === undefined) throw new Error(`${name} has no command ${bin}`);
  return run(process.execPath, [join(installed(name), path), ...args], { cwd: project });
}

describe.each(publishable)('$manifest.name, installed', ({ manifest }) => {
  it('has modules that need nothing but its dependencies and do nothing by being imported', async () => {
    const directory = installed(manifest.name);
    const effects = effectsOf(manifest);
    const modules = readdirSync(join(directory, 'dist'), { recursive: true, encoding: 'utf8' })
      .map((name) => join(directory, 'dist', name))
      .filter((path) => path.endsWith('.js') && !effects.has(relative(directory, path)));
    expect(modules.length).toBeGreaterThan(1);
    const script = `for (const url of JSON.parse(process.argv[1])) await import(url);`;
    const urls = JSON.stringify(modules.map((path) => pathToFileURL(path).href));
    const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', script, urls], {
      cwd: project,
    });
    expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' });
  });

  it('can be imported by every name that it exports', async () => {
    const names = Object.keys(manifest.exports ?? {}).filter((name) => !name.includes('*'));
    expect(names).toContain('.');
    const imports = names.map((name) => {
      const attributes = name.endsWith('.json') ? ", { with: { type: 'json' } }" : '';
      return `console.log(Object.keys(await import('${manifest.name}${name.slice(1)}'${attributes})).length > 0);`;
    });
    const script = imports.join('\n');
    // Node 20 and 22 warn of JSON modules.
    const flags = ['--no-warnings', '--input-type=module', '-e', script];
    const { stdout } = await run(process.execPath, flags, { cwd: project });
    expect(stdout.trim().split('\n')).toEqual(names.map(() => 'true'));
  });

  it('has types that a strict compiler takes', async () => {
    const consumer = join(project, `${manifest.name.replace('/', '-')}.ts`);
    writeFileSync(
      consumer,
      `import * as all from '${manifest.name}';\nexport const names: string[] = Object.keys(all);\n`,
    );
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--lib', 'es2023,dom'];
    const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types')];
    const compiled = run(process.execPath, [tsc, ...options, ...types, consumer], { cwd: project });
    await expect(compiled.catch(({ stdout }: { stdout: string }) => stdout)).resolves.toMatchObject({ stdout: '' });
  });
});

/** Modules that do something by being imported: commands and threads. */
function effectsOf({ sideEffects }: PackageManifest): Set<string> {
  return new Set(Array.isArray(sideEffects) ? (sideEffects as string[]).map((path) => path.replace('./', '')) : []);
}

describe('the packages together', () => {
  it('train a model, serve it and ask it', async () => {
    await command('@elbo/training', 'elbo', 'train', '--preset', 'shapes-mlp', '--limit', '300', '--epochs', '1');
    const path = manifestOf(installed('@elbo/server')).bin?.['elbo-server'] ?? '';
    const server = spawn(process.execPath, [join(installed('@elbo/server'), path)], {
      cwd: project,
      env: { PATH: process.env.PATH, ELBO_HOST: '127.0.0.1', ELBO_PORT: '0', ELBO_WORKERS: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => {
      server.kill('SIGKILL');
    });
    const address = await new Promise<string>((resolve, reject) => {
      server.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
      createInterface(server.stdout).on('line', (line) => {
        const { address } = JSON.parse(line) as { address?: string };
        if (address !== undefined) resolve(address);
      });
    });
    const script = `
      import { ElboClient } from '@elbo/client';
      import { listModels } from '@elbo/models';
      const elbo = new ElboClient({ baseUrl: process.argv[1] });
      const { data, shape } = await elbo.sample({ count: 2, seed: 7 });
      const { mean } = await elbo.encode(data);
      const { scores } = await elbo.anomalyScore(data);
      const stored = await listModels('models');
      console.log(JSON.stringify({ shape, items: [mean.length, scores.length], stored: stored.map(({ name }) => name) }));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script, address], { cwd: project });
    expect(JSON.parse(stdout)).toEqual({ shape: [2, 1, 32, 32], items: [2, 2], stored: ['shapes'] });
    server.removeAllListeners('exit');
    server.kill('SIGTERM');
    expect(await once(server, 'exit')).toEqual([0, null]);
  }, 180_000);

  it('have commands that say what they do and which version they are', async () => {
    const { version } = manifestOf(ROOT);
    const elbo = await command('@elbo/training', 'elbo', '--help');
    expect(elbo.stdout).toMatch(/^Usage: elbo/);
    expect((await command('@elbo/training', 'elbo', '--version')).stdout.trim()).toBe(version);
    const server = await command('@elbo/server', 'elbo-server', '--help');
    expect(server.stdout).toMatch(/^usage: elbo-server/);
    expect((await command('@elbo/server', 'elbo-server', '--version')).stdout.trim()).toBe(version);
    const key = await command('@elbo/server', 'elbo-server', 'make-key', 'caller');
    expect(key.stdout).toMatch(/^elbo_[\w-]{43}\ncaller:[0-9a-f]{64}\n$/);
    await expect(command('@elbo/server', 'elbo-server', 'serve')).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^elbo-server: serve is not a command\nusage: elbo-server/),
    });
  });

  it('train with tfjs only where it is installed, and say so', async () => {
    const training = command('@elbo/training', 'elbo', 'train', '--preset', 'shapes-mlp', '--engine', 'tfjs');
    await expect(training).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('the engine tfjs is not installed: npm install @tensorflow/tfjs'),
    });
  });
});
