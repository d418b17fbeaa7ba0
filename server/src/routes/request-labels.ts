import { type Condition, classOf, classOfText } from '@elbo/models';
import type { FastifyRequest } from 'fastify';
import { named } from '../codecs/numbers.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { ProblemError } from '../problems.js';
import { FORM_TYPE } from './inference-request.js';

/** Class names that a message lists at most. */
const NAMES_SHOWN = 10;

const IN_QUERY = 'query parameter label';

/**
 * The classes of a request's items: what the query's `label` says for all of them, or the body's `labels` for each.
 * @param count items in the request
 * @returns class numbers, [count]; undefined for a model without condition
 * @throws {ProblemError} INVALID_REQUEST, naming the field and what was expected there
 */
export function labelsOf(request: FastifyRequest, model: ServedModel, count: number): number[] | undefined {
  const { label } = request.query as { label?: string };
  const { labels } = (request.body ?? {}) as { labels?: readonly (number | string)[] };
  if (label !== undefined && labels !== undefined) {
    throw invalid(`${IN_QUERY} and body field labels are both given; expected one of them`);
  }
  if (label !== undefined) return Array(count).fill(classInQuery(label, model));
  const { condition } = model.manifest;
  if (labels === undefined) {
    if (condition === undefined) return undefined;
    const orElse = request.method === 'GET' ? '' : ' (or, in JSON, body field labels with one for each item)';
    throw invalid(`${IN_QUERY}${orElse} is missing; model ${model.key} takes ${classesOf(condition)}`);
  }
  if (condition === undefined) throw unexpected('body field labels', model);
  if (labels.length !== count) {
    throw invalid(`body field labels has ${labels.length} labels; expected ${count}, one for each item`);
  }
  // A form has texts alone.
  const find = contentTypeOf(request) === FORM_TYPE ? textOrNumber : classOf;
  return labels.map((each, i) => checked(each, `body field labels[${i}]`, model, find));
}

/** What a line of a stream says. */
export interface LabelledItem {
  readonly item: unknown;
  /** Class number; undefined for a model without condition. */
  readonly label: number | undefined;
}

/**
 * Takes an item and its class from the value of a line: the class of all lines is the query's `label`, that of one line its own
 * in `{"input": item, "label": class}`. The reader throws {ProblemError} INVALID_REQUEST, naming the line.
 * @param key what the item is called beside its label
 * @throws {ProblemError} INVALID_REQUEST where the query's `label` is no class of the model
 */
export function labelledItemReader(
  request: FastifyRequest,
  model: ServedModel,
  key: 'input' | 'latent',
): (value: unknown, line: string) => LabelledItem {
  const { label: inQuery } = request.query as { label?: string };
  const forAll = inQuery === undefined ? undefined : classInQuery(inQuery, model);
  const { condition, input } = model.manifest;
  if (condition === undefined) return (item) => ({ item, label: undefined });
  // With a class for all lines, an object with such a column is a row.
  const isColumn = forAll !== undefined && input.kind === 'vector' && input.columns?.some(({ name }) => name === key);
  const form = `{"${key}": …, "label": …}`;
  return (value, line) => {
    const isLabelled = typeof value === 'object' && value !== null && Object.hasOwn(value, key) && isColumn !== true;
    const { [key]: item, label, ...others } = isLabelled ? (value as Record<string, unknown>) : { [key]: value };
    const [strange] = Object.keys(others);
    if (strange !== undefined) {
      throw invalid(`${line} has ${JSON.stringify(strange.slice(0, 64))}; expected ${form} and nothing else`);
    }
    if (label === undefined) {
      if (forAll !== undefined) return { item, label: forAll };
      const expected = `${form}, or ${IN_QUERY} for all lines`;
      throw invalid(`${line} has no label; expected ${expected}; model ${model.key} takes ${classesOf(condition)}`);
    }
    if (forAll !== undefined) throw invalid(`${line} has a label and ${IN_QUERY} is given; expected one of them`);
    return { item, label: checked(label, `label of ${line}`, model, classOfValue) };
  };
}

/** @throws {ProblemError} INVALID_REQUEST where a query's `label` is no class of the model */
export function classInQuery(text: string, model: ServedModel): number {
  return checked(text, IN_QUERY, model, classOfText);
}

/** @throws {ProblemError} INVALID_REQUEST where the label in this field of a body is no class of the model */
export function classInBody(label: number | string, field: string, model: ServedModel): number {
  return checked(label, `body field ${field}`, model, classOf);
}

/**
 * The one class of a request whose items share it, from its query or its body.
 * @returns undefined for a model without condition
 * @throws {ProblemError} INVALID_REQUEST, naming the field and what was expected there
 */
export function classOnPath(
  model: ServedModel,
  inQuery: string | undefined,
  inBody: number | string | undefined,
): number | undefined {
  if (inQuery !== undefined) return classInQuery(inQuery, model);
  if (inBody !== undefined) return classInBody(inBody, 'label', model);
  const { condition } = model.manifest;
  if (condition === undefined) return undefined;
  throw invalid(
    `${IN_QUERY} (or, in JSON, body field label) is missing; model ${model.key} takes ${classesOf(condition)}`,
  );
}

function checked<Label>(
  label: Label,
  field: string,
  model: ServedModel,
  find: (condition: Condition, label: Label) => number | undefined,
): number {
  const { condition } = model.manifest;
  if (condition === undefined) throw unexpected(field, model);
  const found = find(condition, label);
  if (found === undefined) {
    throw invalid(`${field} is ${named(label)}; model ${model.key} takes ${classesOf(condition)}`);
  }
  return found;
}

function classOfValue(condition: Condition, label: unknown): number | undefined {
  return typeof label === 'number' || typeof label === 'string' ? classOf(condition, label) : undefined;
}

function textOrNumber(condition: Condition, label: number | string): number | undefined {
  return classOfText(condition, String(label));
}

function unexpected(field: string, { key }: ServedModel): ProblemError {
  return invalid(`${field} is given; expected none, as model ${key} takes no label`);
}

function classesOf({ classes, names }: Condition): string {
  const numbers = `a class number from 0 to ${classes - 1}`;
  if (names === undefined) return numbers;
  const shown = names.slice(0, NAMES_SHOWN).map((name) => JSON.stringify(name));
  return `${numbers} or a class name (${shown.join(', ')}${names.length > NAMES_SHOWN ? ', …' : ''})`;
}

function invalid(detail: string): ProblemError {
  return new ProblemError('INVALID_REQUEST', detail);
}
