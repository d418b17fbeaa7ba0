import { openApiDocument } from '@elbo/server/openapi-document';
import { PROBLEMS } from '@elbo/server/problems';
import { fieldsOf, type JsonSchema, typeOf } from './json-schema.js';
import { anchor, code, page, table } from './markdown.js';

interface Content {
  readonly schema?: JsonSchema;
}
interface Answer {
  readonly description: string;
  readonly content?: Readonly<Record<string, Content>>;
  readonly headers?: Readonly<Record<string, { readonly description?: string }>>;
}
interface Operation {
  readonly summary: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly description?: string;
    readonly schema: JsonSchema;
  }[];
  readonly requestBody?: { readonly description?: string; readonly content: Readonly<Record<string, Content>> };
  readonly responses: Readonly<Record<string, Answer>>;
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

/** Every route with its parameters, bodies and answers, from the OpenAPI document. */
export async function httpPage(): Promise<string> {
  const { paths, components }: Document = JSON.parse(await openApiDocument());
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ title: `${method.toUpperCase()} ${path}`, operation })),
  );
  const tags = [...new Set(routes.flatMap(({ operation }) => operation.tags))];
  const of = (tag: string) => routes.filter(({ operation }) => operation.tags.includes(tag));
  return page(
    'HTTP',
    [
      'The same as a document for programs: [openapi.json](../../openapi/openapi.json), which a running service gives at `/openapi.json`, and',
      'as pages to try it on at `/docs`. Every answer has an `x-request-id`.',
    ].join('\n'),
    ...tags.map(
      (tag) =>
        `${tag}:\n\n${of(tag)
          .map(({ title, operation }) => `- [${title}](#${anchor(title)}): ${operation.summary}`)
          .join('\n')}`,
    ),
    ...tags.flatMap(of).map(({ title, operation }) => route(title, operation)),
    '## Problems',
    [
      'Errors are `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): `detail` names the field and what was',
      'expected, `code` is one of these. Under `/v2` an error is `{"error": "…"}`.',
    ].join('\n'),
    table(
      ['code', 'status', 'meaning'],
      Object.entries(PROBLEMS).map(([name, { status, title }]) => [code(name), String(status), title]),
    ),
    '## Bodies',
    ...Object.entries(components.schemas).map(([name, schema]) => body(name, schema)),
  );
}

function route(title: string, { summary, parameters = [], requestBody, responses }: Operation): string {
  const success = Object.entries(responses).filter(([status]) => Number(status) < 400);
  const problems = Object.entries(responses).filter(([status]) => Number(status) >= 400);
  return [
    `## ${title}`,
    `${summary}.`,
    ...(parameters.length === 0
      ? []
      : [
          table(
            ['parameter', 'in', 'values', 'default', 'meaning'],
            parameters.map(({ name, in: place, description = '', schema }) => [
              code(name),
              place,
              typeOf(schema),
              schema.default === undefined ? '' : code(JSON.stringify(schema.default)),
              description,
            ]),
          ),
        ]),
    ...(requestBody === undefined
      ? []
      : [
          table(['body', 'what it holds'], contentRows(requestBody.content)),
          ...(requestBody.description === undefined ? [] : [`A body ${lower(requestBody.description)}.`]),
        ]),
    table(
      ['answer', 'type', 'what it holds'],
      success.flatMap(([status, { description, content = {} }]) => {
        const rows = contentRows(content);
        return rows.length === 0 ? [[status, '', description]] : rows.map((row) => [status, ...row]);
      }),
    ),
    `Errors: ${problems.map(([status, { description }]) => `${status} (${codesOf(description) ?? lower(description)})`).join('; ')}.`,
  ].join('\n\n');
}

/** A row for each type, with its schema in words. */
function contentRows(content: Readonly<Record<string, Content>>): string[][] {
  return Object.entries(content).map(([type, { schema = {} }]) => [
    code(type),
    schema.$ref === undefined ? (schema.description ?? typeOf(schema)) : typeOf(schema),
  ]);
}

function body(name: string, schema: JsonSchema): string {
  const fields = fieldsOf(schema);
  const choices = schema.anyOf ?? schema.oneOf ?? [];
  return [
    `### ${name}`,
    ...(schema.description === undefined ? [] : [`${schema.description}.`]),
    ...choices.map((choice) => fieldTable(fieldsOf(choice))),
    ...(fields.length === 0 ? [] : [fieldTable(fields)]),
  ].join('\n\n');
}

function fieldTable(fields: ReturnType<typeof fieldsOf>): string {
  return table(
    ['field', 'values', 'there', 'meaning'],
    fields.map(({ path, type, isRequired, default: fallback, meaning }) => [
      code(path),
      type,
      isRequired ? 'always' : fallback === undefined ? '' : `default ${fallback}`,
      meaning,
    ]),
  );
}

/** The codes of a description such as "`A`: … `B`: …". */
function codesOf(description: string): string | undefined {
  const codes = [...description.matchAll(/`([A-Z_]+)`: /g)].map(([, name = '']) => `[${name}](#problems)`);
  return codes.length === 0 ? undefined : codes.join(', ');
}

const lower = (text: string) => `${text.charAt(0).toLowerCase()}${text.slice(1)}`;
