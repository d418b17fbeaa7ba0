import { randomInt } from 'node:crypto';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { drawPosterior } from '../inference/service.js';
import { ProblemError } from '../problems.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query, Seed } from '../schemas/common.js';
import { ANSWER_HEADERS, answer, INPUT_CONTENT, SEED_HEADER } from '../schemas/inference.js';
import { sendFloat32, sendJson } from './inference-reply.js';
import { BINARY_TYPE, clientGone, itemsOf, JSON_TYPE, outputType } from './inference-request.js';
import { labelsOf } from './request-labels.js';

export const encodeRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/encode',
    {
      schema: {
        operationId: 'encode',
        tags: ['inference'],
        summary: 'Embed items: the parameters of q(z|x)',
        querystring: query({
          sample: Type.Optional(Type.Boolean({ description: 'Draw one `z` from each q(z|x) as well' })),
          seed: Type.Optional(Seed),
        }),
        body: { content: INPUT_CONTENT },
        response: {
          200: answer(
            'The means and logarithms of variances',
            'Encoding',
            {
              [BINARY_TYPE]:
                'little-endian float32, N x 2 x Z: mean, then log_variance of each item; N x 3 x Z with `sample=true`: `z` last',
            },
            { ...ANSWER_HEADERS, ...SEED_HEADER },
          ),
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS),
        },
      },
    },
    async (request, reply) => {
      const { service } = app;
      const signal = clientGone(reply);
      const { model: name, version, sample = false } = request.query;
      if (request.query.seed !== undefined && !sample) {
        throw new ProblemError('INVALID_REQUEST', 'query parameter seed means nothing without sample=true');
      }
      const model = service.registry.get(name, version);
      const type = outputType(request, [JSON_TYPE, BINARY_TYPE]);
      const items = itemsOf(request, model);
      const times = request.times.run;
      return service.admit(items.count, async () => {
        const labels = labelsOf(request, model, items.count);
        const encoding = await service.encode(model, await items.decode(), { labels, signal, times });
        const seed = sample ? (request.query.seed ?? randomInt(2 ** 32)) : undefined;
        const z = seed === undefined ? undefined : drawPosterior(encoding, seed);
        const parts = [encoding.mean, encoding.logVariance, ...(z === undefined ? [] : [z])];
        if (type === BINARY_TYPE) {
          if (seed !== undefined) reply.header('elbo-seed', seed);
          const joined = request.times.during('encode', () => interleave(parts, model.latentSize));
          return sendFloat32(reply, model, joined, [items.count, parts.length, model.latentSize]);
        }
        const shape = [items.count, model.latentSize];
        return sendJson(reply, model, seed === undefined ? { labels } : { labels, seed }, {
          mean: { data: encoding.mean, shape },
          log_variance: { data: encoding.logVariance, shape },
          ...(z === undefined ? {} : { z: { data: z, shape } }),
        });
      });
    },
  );
};

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
