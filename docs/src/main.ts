/** Writes docs/reference/: `npm run docs`. */
import { writeFile } from 'node:fs/promises';
import { referencePages } from './pages.js';

const folder = new URL('../reference/', import.meta.url);
for (const [name, text] of await referencePages()) await writeFile(new URL(name, folder), text);
