import { CONTENT_CODINGS } from '../codecs/content-coding.js';

interface Operation {
  readonly requestBody?: { description?: string };
  readonly responses?: Record<string, { headers?: Record<string, object> }>;
}
interface Document {
  readonly paths?: Record<string, Record<string, Operation> | undefined>;
}

const CODINGS = CONTENT_CODINGS.map((coding) => `\`${coding}\``).join(', ');

/** Says of every body which content codings it may have, and of the refusal of others that it names them. */
export function withContentCodings(document: object): void {
  const { paths = {} } = document as Document;
  for (const { requestBody, responses = {} } of Object.values(paths).flatMap((item = {}) => Object.values(item))) {
    if (requestBody === undefined) continue;
    requestBody.description = `May have a content coding, named by the header \`content-encoding\`: ${CODINGS}. The limit of a body is one of what it becomes`;
    const refusal = responses[415];
    if (refusal === undefined) continue;
    refusal.headers = {
      ...refusal.headers,
      'accept-encoding': {
        description: 'Content codings that are taken, where another was sent',
        schema: { type: 'string' },
      },
    };
  }
}
