/** Writes openapi/openapi.json from the routes: `npm run openapi --workspace server`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { openApiDocument } from './openapi-document.js';

const folder = new URL('../../openapi/', import.meta.url);
await mkdir(folder, { recursive: true });
await writeFile(new URL('openapi.json', folder), await openApiDocument());
