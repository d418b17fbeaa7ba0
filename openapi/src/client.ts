import createClient, { type Client, type ClientOptions, mergeHeaders } from 'openapi-fetch';
import { ElboError } from './error.js';
import type { operations, paths, Schemas } from './types.js';

export interface ElboClientOptions extends ClientOptions {
  /** Where the service is, such as `http://localhost:8080`. */
  readonly baseUrl: string;
  /** Of a service that asks for keys. */
  readonly apiKey?: string;
}

/** PNG, JPEG or WebP files, of any size. */
export type Images = Blob | Uint8Array | readonly (Blob | Uint8Array)[];

/** N items: their numbers one after another, image files, or what the API takes as JSON. */
export type Items = Float32Array | Images | Schemas['Inputs'];

/** Numbers in row-major order; the first dimension is the items'. */
export interface Tensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** What items come back as: their numbers, one picture of all, or the API's JSON, which says more than they. */
export interface AnswerForms<Json> {
  readonly tensor: Tensor;
  readonly png: Blob;
  readonly json: Json;
}
type Form = keyof AnswerForms<unknown>;

const ACCEPTED: Readonly<Record<Form, string>> = {
  tensor: 'application/octet-stream',
  png: 'image/png',
  json: 'application/json',
};

/** The query of an operation, and what gives the request up. */
export type CallOptions<Operation extends keyof operations> = NonNullable<
  operations[Operation]['parameters']['query']
> & { readonly signal?: AbortSignal };

/** The same of operations that answer with items, and the form of these: `tensor` unless set. */
export type ItemOptions<Operation extends keyof operations, As extends Form> = CallOptions<Operation> & {
  readonly as?: As;
};

/**
 * A client of the service, for browsers and Node.js. Its types are those of the service's OpenAPI document. Options of a call
 * are the query parameters of its route (`model`, `version`, `label`, `seed`, …) and a `signal` that gives it up.
 *
 * Methods throw {@link ElboError} where the service refuses or fails, and what `fetch` throws where no answer comes.
 * @example
 * const elbo = new ElboClient({ baseUrl: 'http://localhost:8080' });
 * const { scores } = await elbo.anomalyScore(file, { model: 'mnist', fpr: 0.01 });
 * const { data, shape } = await elbo.sample({ count: 16, seed: 7 });
 * const picture = await elbo.sample({ count: 16, seed: 7, as: 'png' });
 */
export class ElboClient {
  /**
   * Every route with the types of the document. It gives errors in place of throwing them.
   * @see https://openapi-ts.dev/openapi-fetch
   */
  readonly api: Client<paths, 'application/json'>;

  constructor({ apiKey, headers, ...options }: ElboClientOptions) {
    const key = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
    this.api = createClient<paths, 'application/json'>({ ...options, headers: mergeHeaders(key, headers) });
  }

  /** Every version that is loaded. */
  async models(): Promise<Schemas['ModelSummary'][]> {
    // openapi-fetch's types make arrays of tuples.
    return dataOf(await this.api.GET('/models')).models as Schemas['ModelSummary'][];
  }

  /** A model's shapes, metrics, latent space, calibration and training record. */
  async model(name: string, options: CallOptions<'getModel'> = {}): Promise<Schemas['ModelDetails']> {
    const { signal, ...query } = options;
    const params = { path: { name }, query };
    return dataOf(await this.api.GET('/models/{name}', { params, signal })) as Schemas['ModelDetails'];
  }

  /** `mean` and `log_variance` of q(z|x), N x Z each; with `sample: true` a draw `z` as well. */
  async encode(items: Items, options: CallOptions<'encode'> = {}): Promise<Schemas['Encoding']> {
    const { signal, ...query } = options;
    return dataOf(await this.api.POST('/encode', { params: { query }, signal, ...bodyOf(items, {}) }));
  }

  /** Score, conformal p-value and verdict of each item. */
  async anomalyScore(items: Items, options: CallOptions<'scoreAnomalies'> = {}): Promise<Schemas['AnomalyScores']> {
    const { signal, ...query } = options;
    return dataOf(await this.api.POST('/anomaly-score', { params: { query }, signal, ...bodyOf(items, {}) }));
  }

  /** Where the error of each item is, in nats: N x input shape, or one picture of all. */
  async errorMap<As extends 'tensor' | 'png' = 'tensor'>(
    items: Items,
    options: ItemOptions<'scoreAnomalies', As> = {},
  ): Promise<AnswerForms<never>[As]> {
    const { signal, as, ...query }: ItemOptions<'scoreAnomalies', Form> = options;
    const { headers, ...body } = bodyOf(items, {});
    const init = { params: { query }, signal, ...body, ...inForm(as, headers) };
    return itemsOf(await this.api.POST('/anomaly-score', init), options);
  }

  /** The expected item of each of N latents, which are N x Z numbers. */
  async decode<As extends Form = 'tensor'>(
    latents: Float32Array | Schemas['Latents'],
    options: ItemOptions<'decode', As> = {},
  ): Promise<AnswerForms<Schemas['Decoding']>[As]> {
    const { signal, as, ...query }: ItemOptions<'decode', Form> = options;
    const { headers, ...body } = bodyOf<Schemas['Latents']>(latents, { latents: [] });
    const init = { params: { query }, signal, ...body, ...inForm(as, headers) };
    return itemsOf(await this.api.POST('/decode', init), options);
  }

  /** New items from the prior: `count` (16), `seed`, `temperature`; the same seed gives the same bytes. */
  async sample<As extends Form = 'tensor'>(
    options: ItemOptions<'sample', As> = {},
  ): Promise<AnswerForms<Schemas['Samples']>[As]> {
    const { signal, as, ...query }: ItemOptions<'sample', Form> = options;
    return itemsOf(await this.api.POST('/sample', { params: { query }, signal, ...inForm(as) }), options);
  }

  /** Each item as the model sees it. */
  async reconstruct<As extends Form = 'tensor'>(
    items: Items,
    options: ItemOptions<'reconstruct', As> = {},
  ): Promise<AnswerForms<Schemas['Decoding']>[As]> {
    const { signal, as, ...query }: ItemOptions<'reconstruct', Form> = options;
    const { headers, ...body } = bodyOf(items, {});
    const init = { params: { query }, signal, ...body, ...inForm(as, headers) };
    return itemsOf(await this.api.POST('/reconstruct', init), options);
  }

  /** What lies between two items or, as JSON, two `latents`: `steps` (8), `path` `linear` or `spherical`. */
  async interpolate<As extends Form = 'tensor'>(
    ends: Float32Array | Images | Schemas['InterpolateRequest'],
    options: ItemOptions<'interpolate', As> = {},
  ): Promise<AnswerForms<Schemas['Interpolation']>[As]> {
    const { signal, as, ...query }: ItemOptions<'interpolate', Form> = options;
    const { headers, ...body } = bodyOf<Schemas['InterpolateRequest']>(ends, {});
    const init = { params: { query }, signal, ...body, ...inForm(as, headers) };
    return itemsOf(await this.api.POST('/interpolate', init), options);
  }
}

/** A request's body for `openapi-fetch`, whose types know JSON alone: bytes are put in its place when it is serialised. */
interface Body<Json> {
  readonly body: Json;
  readonly bodySerializer?: () => BodyInit;
  readonly headers?: Readonly<Record<string, string>>;
}

/** @param placeholder a body of the right type, which is not sent where bytes are */
function bodyOf<Json extends object>(content: Float32Array | Images | Json, placeholder: Json): Body<Json> {
  if (content instanceof Float32Array) {
    const bytes = new Float32Array(content);
    return {
      body: placeholder,
      bodySerializer: () => bytes,
      headers: { 'content-type': 'application/octet-stream' },
    };
  }
  const images = imagesIn(content);
  if (images === undefined) return { body: content as Json };
  const form = new FormData();
  for (const image of images) form.append('image', image, 'image');
  return { body: placeholder, bodySerializer: () => form };
}

/** @throws {TypeError} for a list of anything but files, such as one of numbers */
function imagesIn(content: object): readonly Blob[] | undefined {
  const list: readonly unknown[] | undefined = isFile(content)
    ? [content]
    : Array.isArray(content)
      ? content
      : undefined;
  return list?.map((file, i) => {
    if (!isFile(file)) {
      throw new TypeError(
        `item ${i} of the list is no file; expected Blobs or Uint8Arrays, or numbers as { inputs: […] }`,
      );
    }
    return file instanceof Blob ? file : new Blob([new Uint8Array(file)]);
  });
}

function isFile(value: unknown): value is Blob | Uint8Array {
  return value instanceof Blob || value instanceof Uint8Array;
}

function inForm(
  form: Form = 'tensor',
  headers: Readonly<Record<string, string>> = {},
): { readonly headers: Record<string, string>; readonly parseAs: 'stream' } {
  return { headers: { ...headers, accept: ACCEPTED[form] }, parseAs: 'stream' };
}

interface Fetched<Data> {
  readonly data?: Data;
  readonly error?: unknown;
  readonly response: Response;
}

function dataOf<Data>({ data, error, response }: Fetched<Data>): Data {
  if (data === undefined) throw new ElboError(response, error);
  return data;
}

async function itemsOf<Json, As extends Form>(
  { error, response }: Fetched<unknown>,
  options: { readonly as?: As },
): Promise<AnswerForms<Json>[As]> {
  if (!response.ok) throw new ElboError(response, error);
  const read: { readonly [F in Form]: () => Promise<AnswerForms<Json>[F]> } = {
    tensor: async () => ({ data: new Float32Array(await response.arrayBuffer()), shape: shapeOf(response) }),
    png: () => response.blob(),
    json: () => response.json(),
  };
  // What is left out is the default of the type parameter.
  return read[options.as ?? ('tensor' as As)]();
}

function shapeOf({ headers }: Response): number[] {
  const shape = headers.get('elbo-shape');
  if (shape === null) throw new TypeError('the answer has no header elbo-shape, which something between must have cut');
  return shape.split(',').map(Number);
}
