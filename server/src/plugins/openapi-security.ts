import { PROBLEMS, type ProblemCode } from '../problems.js';
import { isHealthRoute } from './access.js';

interface Operation {
  security?: Record<string, string[]>[];
  responses?: Record<string, object>;
}
interface Document {
  paths?: Record<string, object | undefined>;
  components?: { securitySchemes?: Record<string, object> };
}

const METHODS = new Set(['get', 'post', 'put', 'patch', 'delete']);

const KEYS: readonly Record<string, string[]>[] = [{ bearer: [] }, { 'x-api-key': [] }];

/**
 * Says of every operation which key it takes and what it answers without one. Only the deployment decides whether there are
 * keys, so `{}`, no key at all, is one of the choices.
 */
export function withSecurity(document: object, adminRoutes: ReadonlySet<string>): void {
  const { paths = {}, components = {} } = document as Document;
  components.securitySchemes = {
    bearer: { type: 'http', scheme: 'bearer', description: 'A key of ELBO_API_KEYS or ELBO_ADMIN_KEYS' },
    'x-api-key': {
      type: 'apiKey',
      in: 'header',
      name: 'x-api-key',
      description: 'The same key, in a header of its own',
    },
  };
  for (const [path, item = {}] of Object.entries(paths)) {
    for (const [method, value] of Object.entries(item)) {
      if (!METHODS.has(method)) continue;
      const operation = value as Operation;
      const admin = adminRoutes.has(path);
      if (isHealthRoute(path)) operation.security = [];
      else {
        operation.security = admin ? [...KEYS] : [{}, ...KEYS];
        addResponses(
          operation,
          admin ? ['UNAUTHORIZED', 'FORBIDDEN', 'RATE_LIMITED'] : ['UNAUTHORIZED', 'RATE_LIMITED'],
        );
      }
    }
  }
}

function addResponses(operation: Operation, codes: readonly ProblemCode[]): void {
  const responses = operation.responses ?? {};
  const failure = Object.entries(responses).find(([status]) => Number(status) >= 400)?.[1];
  // An operation of another protocol has errors of another form.
  const content = (failure as { content?: object } | undefined)?.content;
  for (const code of codes) {
    const { status, title } = PROBLEMS[code];
    responses[status] ??= { description: `\`${code}\`: ${title}`, ...(content && { content }) };
  }
  operation.responses = responses;
}
