import { drawLatents, RandomSource } from '@elbo/models';
import {
  expectedDecoding,
  expectedLogVariance,
  expectedMean,
  type FixtureModel,
} from '../../server/support/fixture-models.js';
import { greyPng } from '../../server/support/pictures.js';
import type { Request } from './client.js';

/** A request and what is wrong with an answer of 200 to it; undefined where it is right. */
export interface CheckedRequest {
  readonly name: string;
  readonly items: number;
  readonly request: Request;
  fault(body: Buffer): string | undefined;
}

const TOLERANCE = 1e-4;
const SIZE = 64;

/** Requests of every kind that the fixture's grey model takes, with answers that are calculated by hand. */
export async function mixedRequests(grey: FixtureModel): Promise<CheckedRequest[]> {
  const random = new RandomSource(11);
  const bytes = (items: number) => Uint8Array.from({ length: items * SIZE }, () => random.integer(256));
  const itemsOf = (numbers: ArrayLike<number>) =>
    Array.from({ length: numbers.length / SIZE }, (_, i) =>
      Array.from({ length: SIZE }, (_, j) => (numbers[i * SIZE + j] ?? 0) / 255),
    );
  const json = (path: string, body: object) => ({
    path,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify(body)),
  });

  const one = itemsOf(bytes(1));
  const several = itemsOf(bytes(5));
  const picture = bytes(1);
  const raw = Float32Array.from(several.flat());
  const latents = [Array.from(random.fillNormal(new Float32Array(4)))];
  const drawn = drawLatents({ latentSize: 4 }, 3, 5);
  const drawnRows = Array.from({ length: 3 }, (_, i) => Array.from(drawn.subarray(i * 4, i * 4 + 4)));
  const encoded = (items: number[][]) => ({
    mean: items.map((item) => expectedMean(grey, item)),
    log_variance: items.map((item) => expectedLogVariance(grey, item)),
  });
  const decoded = (rows: number[][]) => ({ outputs: rows.map((row) => expectedDecoding(grey, row)) });
  return [
    jsonChecked('encode one', json('/encode', { inputs: one }), 1, encoded(one)),
    jsonChecked('encode several', json('/encode', { inputs: several }), several.length, encoded(several)),
    jsonChecked(
      'encode a picture',
      { path: '/encode', headers: { 'content-type': 'image/png' }, body: await greyPng(picture, 8, 8) },
      1,
      encoded(itemsOf(picture)),
    ),
    {
      name: 'encode float32',
      items: several.length,
      request: {
        path: '/encode',
        headers: { 'content-type': 'application/octet-stream', accept: 'application/octet-stream' },
        body: Buffer.from(raw.buffer),
      },
      fault: (body) => {
        const given = new Float32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength));
        const { mean, log_variance } = encoded(several);
        return differs(
          [...given],
          mean.map((row, i) => [row, log_variance[i]]),
        );
      },
    },
    jsonChecked('decode', json('/decode', { latents }), 1, decoded(latents)),
    jsonChecked('sample', json('/sample?count=3&seed=5', {}), 3, decoded(drawnRows)),
    jsonChecked(
      'reconstruct',
      json('/reconstruct', { inputs: one }),
      1,
      decoded(one.map((item) => expectedMean(grey, item))),
    ),
    {
      name: 'anomaly score',
      items: several.length,
      request: json('/anomaly-score', { inputs: several }),
      fault: (body) => {
        const { scores } = JSON.parse(body.toString()) as { scores: { score: number }[] };
        return differs(
          scores.map(({ score }) => score),
          several.map((item) => expectedScore(grey, item)),
        );
      },
    },
  ];
}

function jsonChecked(name: string, request: Request, items: number, expected: Record<string, unknown>): CheckedRequest {
  return {
    name,
    items,
    request,
    fault: (body) => {
      const given = JSON.parse(body.toString()) as Record<string, unknown>;
      for (const [field, wanted] of Object.entries(expected)) {
        const fault = differs(given[field], wanted);
        if (fault !== undefined) return `${field}: ${fault}`;
      }
      return undefined;
    },
  };
}

function expectedScore(model: FixtureModel, item: readonly number[]): number {
  const mean = expectedMean(model, item);
  const output = expectedDecoding(model, mean);
  const reconstruction = item.reduce((sum, value, i) => sum + (value - (output[i] ?? 0)) ** 2, 0);
  return reconstruction + mean.reduce((sum, value) => sum + value ** 2, 0);
}

/** However deep the numbers are nested. */
function differs(given: unknown, wanted: unknown): string | undefined {
  const a = flat(given);
  const b = flat(wanted);
  if (a.length !== b.length) return `${a.length} numbers; expected ${b.length}`;
  const at = b.findIndex(
    (value, i) => !(Math.abs(value - (a[i] ?? Number.NaN)) <= TOLERANCE * Math.max(1, Math.abs(value))),
  );
  return at === -1 ? undefined : `number ${at} is ${a[at]}; expected ${b[at]}`;
}

function flat(value: unknown): number[] {
  return Array.isArray(value) ? value.flatMap(flat) : [Number(value)];
}
