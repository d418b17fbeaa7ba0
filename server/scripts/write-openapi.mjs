// Writes openapi/openapi.json from the routes: `npm run openapi --workspace server`.
import { writeFile } from 'node:fs/promises';
import { openApiDocument } from '@elbo/server/openapi-document';

await writeFile(new URL('../../openapi/openapi.json', import.meta.url), await openApiDocument());
