// Prints what CHANGELOG.md says of a version, which must be the one of every package: `node .ci/release-notes.mjs 0.2.0`.
import { readFileSync } from 'node:fs';
import { sectionOf } from './changelog.mjs';

const [version = ''] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const notes = sectionOf(readFileSync('CHANGELOG.md', 'utf8'), version);
const fault =
  manifest.version !== version
    ? `package.json has version ${manifest.version}, not ${version}`
    : !notes && `CHANGELOG.md says nothing of [${version}]`;
if (fault) {
  console.error(`release-notes: ${fault}`);
  process.exit(1);
}
console.log(notes);
