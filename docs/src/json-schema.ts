import { anchor, code } from './markdown.js';

/** What is read of a JSON schema, as TypeBox and OpenAPI write them. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly patternProperties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly required?: readonly string[];
  readonly items?: JsonSchema | readonly JsonSchema[];
  readonly prefixItems?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly $ref?: string;
}

/** A TypeBox schema as what it is in JSON. */
export const asJson = (schema: object): JsonSchema => JSON.parse(JSON.stringify(schema));

export interface Field {
  /** Where it stands: `objective.beta`, `layers[].kernel`, `files.NAME.bytes`. */
  readonly path: string;
  readonly isRequired: boolean;
  /** What its values are. */
  readonly type: string;
  readonly default: string | undefined;
  readonly meaning: string;
}

/** Every field of an object, those of objects inside after them. */
export function fieldsOf(schema: JsonSchema, prefix = ''): Field[] {
  const required = schema.required ?? [];
  const named = Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
    fieldWithInner(`${prefix}${name}`, field, required.includes(name) && field.default === undefined),
  );
  const [values] = valuesOfAnyName(schema);
  return values === undefined ? named : [...named, ...fieldWithInner(`${prefix}NAME`, values, false)];
}

function fieldWithInner(path: string, schema: JsonSchema, isRequired: boolean): Field[] {
  const isPlain = schema.default !== undefined && !isEmptyObject(schema.default);
  const field = {
    path,
    isRequired,
    type: typeOf(schema),
    default: isPlain ? code(JSON.stringify(schema.default)) : undefined,
    meaning: schema.description ?? '',
  };
  return [field, ...innerFields(path, schema)];
}

function innerFields(path: string, schema: JsonSchema): Field[] {
  const choices = (schema.anyOf ?? schema.oneOf ?? []).filter(({ properties }) => properties !== undefined);
  if (choices.length > 0) {
    return choices.flatMap((choice, i) => {
      const kind = choice.properties?.kind?.const;
      return fieldsOf(choice, `${path}${choices.length === 1 ? '' : ` (${kind ?? i + 1})`}.`);
    });
  }
  if (schema.items !== undefined && !isList(schema.items)) return innerFields(`${path}[]`, schema.items);
  return fieldsOf(schema, `${path}.`);
}

/** What values a schema takes, in words. */
export function typeOf(schema: JsonSchema): string {
  const { $ref, type, const: constant, pattern, minItems, maxItems } = schema;
  if ($ref !== undefined) {
    const name = $ref.split('/').at(-1) ?? $ref;
    return `[${name}](#${anchor(name)})`;
  }
  if (constant !== undefined) return code(JSON.stringify(constant));
  if (schema.enum !== undefined) return schema.enum.map((value) => code(JSON.stringify(value))).join(', ');
  if (typeof type === 'object') return type.map((one) => typeOf({ ...schema, type: one })).join(' or ');
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map(typeOf))].join(' or ');
  if (type === 'integer' || type === 'number') return `${type}${rangeOf(schema)}`;
  if (type === 'string') return pattern === undefined ? 'string' : `string ${code(pattern)}`;
  if (type === 'array') {
    const items = schema.prefixItems ?? (schema.items !== undefined && isList(schema.items) ? schema.items : undefined);
    if (items !== undefined) return `[${items.map(typeOf).join(', ')}]`;
    const of = schema.items === undefined || isList(schema.items) ? '' : ` of ${typeOf(schema.items)}`;
    const counts = [
      minItems === undefined ? '' : `at least ${minItems}`,
      maxItems === undefined ? '' : `at most ${maxItems}`,
    ];
    const count = counts.filter((text) => text !== '').join(', ');
    return `array${of}${count === '' ? '' : ` (${count})`}`;
  }
  return type ?? 'anything';
}

function rangeOf({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  const low = exclusiveMinimum === undefined ? minimum : exclusiveMinimum;
  const high = exclusiveMaximum === undefined ? maximum : exclusiveMaximum;
  if (exclusiveMinimum === undefined && exclusiveMaximum === undefined && low !== undefined && high !== undefined) {
    return `, ${low} to ${high}`;
  }
  const above = low === undefined ? '' : `, ${exclusiveMinimum === undefined ? 'at least' : 'above'} ${low}`;
  const below = high === undefined ? '' : `, ${exclusiveMaximum === undefined ? 'at most' : 'below'} ${high}`;
  return `${above}${below}`;
}

/** Of objects with names of the writer's choice: what stands under each. */
function valuesOfAnyName({ patternProperties, additionalProperties }: JsonSchema): JsonSchema[] {
  if (patternProperties !== undefined) return Object.values(patternProperties);
  const isSchema = typeof additionalProperties === 'object' && Object.keys(additionalProperties).length > 0;
  return isSchema ? [additionalProperties] : [];
}

const isList = (items: JsonSchema | readonly JsonSchema[]): items is readonly JsonSchema[] => Array.isArray(items);
const isEmptyObject = (value: unknown) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
