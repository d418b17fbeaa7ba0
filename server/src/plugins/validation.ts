import { Ajv, type ErrorObject } from 'ajv';
import type { FastifyInstance, FastifySchema } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from '../problems.js';

const OPTIONS = {
  verbose: true,
  keywords: ['x-examples'],
  addUsedSchema: false,
  allowUnionTypes: true,
  // Compiling the schema of schemas takes longer than all others together; the document's test holds ours against it.
  validateSchema: false,
};

/**
 * Checks queries and bodies against the routes' schemas. A query is text, so `"16"` is turned into 16 where a number is
 * expected; a body is taken as it is: nothing is converted, removed or filled in.
 */
export const validation = fp(async (app: FastifyInstance) => {
  const text = new Ajv({ ...OPTIONS, coerceTypes: true });
  const body = new Ajv(OPTIONS);
  app.setValidatorCompiler<object>(({ schema, httpPart }) => {
    const ajv = httpPart === 'body' ? body : text;
    const shared = app.getSchemas();
    for (const [id, definition] of Object.entries(shared)) {
      // Not `getSchema`, which compiles: most of the shared schemas are of answers.
      if (!Object.hasOwn(ajv.schemas, id)) ajv.addSchema(definition as object, id);
    }
    const validate = ajv.compile(schema);
    return (value: unknown) => {
      if (validate(value)) {
        // To Ajv, infinity is within every bound and an integer, too.
        const endless = httpPart === 'body' ? undefined : Object.entries(value as object).find(([, v]) => isEndless(v));
        if (endless === undefined) return { value };
        const detail = `${PARTS[httpPart ?? ''] ?? httpPart} ${endless[0]} must be a finite number`;
        return { error: new ProblemError('INVALID_REQUEST', detail) };
      }
      const [first] = validate.errors ?? [];
      return {
        error: new ProblemError('INVALID_REQUEST', first === undefined ? 'not valid' : explain(first, httpPart)),
      };
    };
  });
  // Response schemas are for the documentation; answers are plain data that JSON.stringify writes as fast.
  app.setSerializerCompiler<FastifySchema>(() => (data) => JSON.stringify(data));
});

const PARTS: Readonly<Record<string, string>> = {
  querystring: 'query parameter',
  params: 'path parameter',
  headers: 'header',
  body: 'body field',
};

function isEndless(value: unknown): boolean {
  return typeof value === 'number' && !Number.isFinite(value);
}

function explain({ keyword, params, instancePath, message, data, parentSchema }: ErrorObject, part = 'body'): string {
  const where = PARTS[part] ?? part;
  const field = instancePath.slice(1).replaceAll('/', '.');
  if (keyword === 'additionalProperties') {
    const known = Object.keys((parentSchema as { properties?: object }).properties ?? {}).join(', ');
    return `${where} ${JSON.stringify(params.additionalProperty)} is unknown; expected ${known}`;
  }
  if (keyword === 'required') return `${where} ${params.missingProperty} is missing`;
  return `${field === '' ? `the ${part}` : `${where} ${field}`} ${message}, not ${given(data)}`;
}

/** Nothing of what a list or an object holds: they can be nested deeper than the stack is high. */
function given(data: unknown): string {
  if (Array.isArray(data)) return `an array of ${data.length}`;
  if (typeof data === 'object' && data !== null) return 'an object';
  const value = JSON.stringify(data) ?? 'nothing';
  return value.length > 40 ? `${value.slice(0, 40)}…` : value;
}
