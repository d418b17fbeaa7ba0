// Makes the working tree the one of a new version: `node .ci/set-version.mjs 0.2.0`. Every package has the same version and
// depends on the others by exactly it, which `npm version --workspaces` leaves alone; what was unreleased gets the version's name.
import { readFileSync, writeFileSync } from 'node:fs';
import { sectionOf } from './changelog.mjs';

const [version = ''] = process.argv.slice(2);
const manifests = new Map(['', ...read('package.json').workspaces].map((folder) => [folder, read(path(folder))]));
const own = new Set([...manifests.values()].map(({ name }) => name));
const changelog = readFileSync('CHANGELOG.md', 'utf8');

if (!/^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/.test(version)) fail('expected a version such as 0.2.0 or 1.0.0-rc.1');
if (!sectionOf(changelog, 'Unreleased')) fail('CHANGELOG.md has nothing under [Unreleased]; expected what is new');
if (sectionOf(changelog, version) !== undefined) fail(`CHANGELOG.md has a section [${version}] already`);

const lock = read('package-lock.json');
lock.version = version;
for (const [folder, manifest] of manifests) {
  for (const entry of [manifest, lock.packages[folder]]) {
    entry.version = version;
    for (const kind of ['dependencies', 'devDependencies', 'peerDependencies']) {
      for (const name of Object.keys(entry[kind] ?? {})) if (own.has(name)) entry[kind][name] = version;
    }
  }
  write(path(folder), manifest);
}
write('package-lock.json', lock);
// Written from the routes otherwise, which have the version of their package.
const document = read('openapi/openapi.json');
document.info.version = version;
write('openapi/openapi.json', document);
const today = new Date().toISOString().slice(0, 10);
writeFileSync('CHANGELOG.md', changelog.replace('## [Unreleased]', `## [Unreleased]\n\n## [${version}] - ${today}`));

function path(folder) {
  return folder === '' ? 'package.json' : `${folder}/package.json`;
}

function read(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

function write(file, content) {
  writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
}

function fail(message) {
  console.error(`set-version: ${message}`);
  process.exit(2);
}
