import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { manifestOf, ROOT, workspaces } from './support/publishable.js';

const NEXT = '3.14.15-rc.9';

/** A directory with what a version is written in. */
function tree(unreleased = '### Added\n\n- Something new.\n\n#### And more\n\n- Of it.'): string {
  const directory = temporaryDirectory();
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(ROOT, file), join(directory, file));
  for (const { folder } of folders()) {
    mkdirSync(join(directory, folder));
    cpSync(join(ROOT, folder, 'package.json'), join(directory, folder, 'package.json'));
  }
  cpSync(join(ROOT, 'openapi', 'openapi.json'), join(directory, 'openapi', 'openapi.json'));
  const earlier = '## [0.0.9] - 2020-01-01\n\n### Added\n\n- Something old.\n';
  writeFileSync(join(directory, 'CHANGELOG.md'), `# Changelog\n\n## [Unreleased]\n\n${unreleased}\n\n${earlier}`);
  return directory;
}

function folders(): { folder: string; name: string }[] {
  return workspaces.map(({ directory, manifest }) => ({ folder: directory.slice(ROOT.length), name: manifest.name }));
}

function script(name: string, cwd: string, ...args: string[]) {
  const path = join(ROOT, '.ci', `${name}.mjs`);
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { cwd, encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('setting a version', () => {
  it('gives it to every package, and to the dependencies among them', () => {
    const directory = tree();
    expect(script('set-version', directory, NEXT)).toEqual({ status: 0, stdout: '', stderr: '' });
    const names = folders().map(({ name }) => name);
    let between = 0;
    for (const folder of ['', ...folders().map(({ folder }) => folder)]) {
      const manifest = manifestOf(join(directory, folder));
      expect(manifest.version).toBe(NEXT);
      for (const [name, range] of Object.entries(manifest.dependencies ?? {})) {
        if (!names.includes(name)) continue;
        expect(range).toBe(NEXT);
        between++;
      }
    }
    expect(between).toBeGreaterThan(0);
    const document = JSON.parse(readFileSync(join(directory, 'openapi', 'openapi.json'), 'utf8')) as {
      info: { version: string };
    };
    expect(document.info.version).toBe(NEXT);
  });

  it('changes nothing else', () => {
    const directory = tree();
    const manifests = folders().map(({ folder }) => `${folder}/package.json`);
    const files = ['package.json', 'package-lock.json', 'openapi/openapi.json', ...manifests];
    const { version } = manifestOf(directory);
    const before = files.map((file) => readFileSync(join(directory, file), 'utf8'));
    script('set-version', directory, NEXT);
    const after = files.map((file) =>
      readFileSync(join(directory, file), 'utf8').replaceAll(`"${NEXT}"`, `"${version}"`),
    );
    expect(after).toEqual(before);
  });

  it('leaves a lockfile that npm takes as that of the manifests', () => {
    const directory = tree();
    script('set-version', directory, NEXT);
    // What npm itself writes of the manifests; of other packages it writes more or less, depending on its version.
    const own = () => {
      const { version, packages } = JSON.parse(readFileSync(join(directory, 'package-lock.json'), 'utf8')) as {
        version: string;
        packages: Record<string, unknown>;
      };
      return [version, ...['', ...folders().map(({ folder }) => folder)].map((folder) => packages[folder])];
    };
    const written = own();
    cpSync(join(ROOT, '.npmrc'), join(directory, '.npmrc'));
    const npm = ['install', '--package-lock-only', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
    const { status, stderr } = spawnSync('npm', npm, { cwd: directory, encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(own()).toEqual(written);
    expect(written).not.toContain(undefined);
  });

  it('turns what was unreleased into the notes of the version', () => {
    const directory = tree();
    script('set-version', directory, NEXT);
    const changelog = readFileSync(join(directory, 'CHANGELOG.md'), 'utf8');
    const [, day] = /^## \[Unreleased\]\n\n## \[3\.14\.15-rc\.9\] - (\d{4}-\d\d-\d\d)$/m.exec(changelog) ?? [];
    expect(Math.abs(Date.parse(day ?? '') - Date.now())).toBeLessThan(2 * 86_400_000);
    const notes = '### Added\n\n- Something new.\n\n#### And more\n\n- Of it.\n';
    expect(script('release-notes', directory, NEXT)).toEqual({ status: 0, stdout: notes, stderr: '' });
  });

  it.each([
    ['no version', [], /expected a version such as 0\.2\.0/],
    ['no number', ['next'], /expected a version such as 0\.2\.0/],
    ['a version with a v', ['v0.2.0'], /expected a version such as 0\.2\.0/],
    ['one that was released', ['0.0.9'], /CHANGELOG\.md has a section \[0\.0\.9\] already/],
  ])('refuses %s', (_what, args, message) => {
    const directory = tree();
    const manifest = readFileSync(join(directory, 'package.json'), 'utf8');
    const { status, stderr } = script('set-version', directory, ...args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
    expect(readFileSync(join(directory, 'package.json'), 'utf8')).toBe(manifest);
  });

  it('refuses a release that brings nothing', () => {
    expect(script('set-version', tree(''), NEXT).stderr).toMatch(/CHANGELOG\.md has nothing under \[Unreleased\]/);
  });
});

describe('notes of a release', () => {
  it('are refused where the packages have another version', () => {
    const { status, stderr } = script('release-notes', tree(), '0.0.9');
    expect(status).toBe(1);
    expect(stderr).toMatch(/package\.json has version .+, not 0\.0\.9/);
  });

  it('are refused where there are none', () => {
    const directory = tree();
    const { version } = manifestOf(directory);
    const { status, stderr } = script('release-notes', directory, version);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: `release-notes: CHANGELOG.md says nothing of [${version}]\n`,
    });
  });
});

it('the changelog has what is unreleased on top, then versions, each with its day', () => {
  const headings = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8').match(/^## .*$/gm) ?? [];
  expect(headings[0]).toBe('## [Unreleased]');
  for (const heading of headings.slice(1)) expect(heading).toMatch(/^## \[\d+\.\d+\.\d+.*\] - \d{4}-\d\d-\d\d$/);
  const kinds = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8').match(/^### .*$/gm) ?? [];
  for (const kind of kinds) expect(kind).toMatch(/^### (?:Added|Changed|Deprecated|Removed|Fixed|Security)$/);
});
