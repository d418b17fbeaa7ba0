import { randomInt } from 'node:crypto';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { jsonItemDecoder } from '../codecs/items.js';
import type { JsonTensor } from '../codecs/json.js';
import { linesOf } from '../codecs/lines.js';
import type { ServedModel } from '../inference/model.js';
import type { Encoding } from '../inference/service.js';
import { ProblemError } from '../problems.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query, Seed } from '../schemas/common.js';
import { ANSWER_HEADERS, answer, SEED_HEADER, STREAM_CONTENT } from '../schemas/inference.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { sendJson, sendLines, sendTensor } from './inference-reply.js';
import {
  BINARY_TYPE,
  clientGone,
  isTensorType,
  itemsOf,
  JSON_TYPE,
  LINES_TYPE,
  NPY_TYPE,
  outputTypes,
} from './inference-request.js';
import { answerLines, hasLines } from './line-stream.js';
import { PosteriorDraws } from './posterior-draws.js';
import { labelsOf } from './request-labels.js';

/** What the numbers of an answer that is one tensor are. */
const TENSOR = 'N x 2 x Z: mean, then log_variance of each item; N x 3 x Z with `sample=true`: `z` last';

const encodingType = outputTypes(JSON_TYPE, BINARY_TYPE, NPY_TYPE, LINES_TYPE);

export const encodeRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/encode',
    {
      onRequest: refuseWhenFull,
      schema: {
        operationId: 'encode',
        tags: ['inference'],
        summary: 'Embed items: the parameters of q(z|x)',
        querystring: query({
          sample: Type.Optional(Type.Boolean({ description: 'Draw one `z` from each q(z|x) as well' })),
          seed: Type.Optional(Seed),
        }),
        body: { content: STREAM_CONTENT },
        response: {
          200: answer(
            'The means and logarithms of variances',
            'Encoding',
            {
              [BINARY_TYPE]: `little-endian float32, ${TENSOR}`,
              [NPY_TYPE]: `A NumPy array of float32, ${TENSOR}`,
              [LINES_TYPE]: 'An object of `mean` and `log_variance` an item, and `z` with `sample=true`',
            },
            { ...ANSWER_HEADERS, ...SEED_HEADER },
          ),
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS),
        },
      },
    },
    async (request, reply) => {
      const { service } = app;
      const cancellation = clientGone(reply);
      const { model: name, version, sample = false } = request.query;
      if (request.query.seed !== undefined && !sample) {
        throw new ProblemError('INVALID_REQUEST', 'query parameter seed means nothing without sample=true');
      }
      const model = service.registry.get(name, version);
      const seed = sample ? (request.query.seed ?? randomInt(2 ** 32)) : undefined;
      if (hasLines(request)) {
        const draws = seed === undefined ? undefined : new PosteriorDraws(seed);
        if (seed !== undefined) reply.header('elbo-seed', seed);
        return answerLines(app, request, reply, model, {
          size: model.itemSize,
          key: 'input',
          decode: jsonItemDecoder(model.manifest.input),
          answer: async (rows, options) => {
            const encoding = await service.encode(model, rows, options);
            return encodingLines(model, encoding, draws?.next(encoding), options.labels);
          },
        });
      }
      const type = encodingType(request);
      const items = itemsOf(request, model);
      const times = request.times.run;
      return admitItems(request, items.count, async () => {
        const labels = labelsOf(request, model, items.count);
        const encoding = await service.encode(model, await items.decode(), { labels, cancellation, times });
        const z = seed === undefined ? undefined : new PosteriorDraws(seed).next(encoding);
        if (seed !== undefined && type !== JSON_TYPE) reply.header('elbo-seed', seed);
        if (type === LINES_TYPE) return sendLines(reply, model, encodingLines(model, encoding, z, labels));
        if (isTensorType(type)) {
          const parts = [encoding.mean, encoding.logVariance, ...(z === undefined ? [] : [z])];
          const shape = [items.count, parts.length, model.latentSize];
          const joined = request.times.during('encode', () => interleave(parts, model.latentSize));
          return sendTensor(reply, model, type, joined, shape);
        }
        return sendJson(
          reply,
          model,
          seed === undefined ? { labels } : { labels, seed },
          encodingTensors(model, encoding, z),
        );
      });
    },
  );
};

function encodingTensors(
  { latentSize }: ServedModel,
  { mean, logVariance }: Encoding,
  z: Float32Array | undefined,
): Record<string, JsonTensor> {
  const shape = [mean.length / latentSize, latentSize];
  return {
    mean: { data: mean, shape },
    log_variance: { data: logVariance, shape },
    ...(z && { z: { data: z, shape } }),
  };
}

function encodingLines(
  model: ServedModel,
  encoding: Encoding,
  z: Float32Array | undefined,
  labels: readonly number[] | undefined,
): Iterable<string> {
  return linesOf(encoding.mean.length / model.latentSize, { label: labels }, encodingTensors(model, encoding, z));
}

/** From P tensors of N x Z to one of N x P x Z. */
function interleave(parts: readonly Float32Array[], width: number): Float32Array {
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const joined = new Float32Array(total);
  for (const [p, part] of parts.entries()) {
    for (let row = 0; row * width < part.length; row++) {
      joined.set(part.subarray(row * width, (row + 1) * width), (row * parts.length + p) * width);
    }
  }
  return joined;
}
