import { randomInt } from 'node:crypto';
import { drawLabels, drawLatents } from '@elbo/models';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { ServedModel } from '../inference/model.js';
import { ProblemError } from '../problems.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query } from '../schemas/common.js';
import { ANSWER_HEADERS, answer, ITEM_OUTPUTS, SampleParameters, SEED_HEADER } from '../schemas/inference.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { sendItems } from './inference-reply.js';
import { clientGone, itemOutputType } from './inference-request.js';
import { classInBody, classInQuery } from './request-labels.js';

interface SampleRequest {
  readonly count?: number;
  readonly seed?: number;
  readonly temperature?: number;
  readonly label?: number | string;
}

export const sampleRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/sample',
    {
      onRequest: refuseWhenFull,
      config: { optionalBody: true },
      schema: {
        operationId: 'sample',
        tags: ['inference'],
        summary: 'Draw from the prior and decode: synthetic items',
        querystring: query(SampleParameters),
        body: { content: { 'application/json': { schema: { $ref: 'SampleRequest#' } } } },
        response: {
          200: answer('The samples', 'Samples', ITEM_OUTPUTS, { ...ANSWER_HEADERS, ...SEED_HEADER }),
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS),
        },
      },
    },
    async (request, reply) => {
      const { service } = app;
      const cancellation = clientGone(reply);
      const { model: name, version, ...parameters } = request.query;
      const body = (request.body ?? {}) as SampleRequest;
      const twice = Object.keys(body).find((key) => key in parameters);
      if (twice !== undefined) {
        throw new ProblemError('INVALID_REQUEST', `${twice} is given twice, in the query and in the body`);
      }
      const { count = 16, seed = randomInt(2 ** 32), temperature = 1 }: SampleRequest = { ...parameters, ...body };
      const model = service.registry.get(name, version);
      const type = itemOutputType(request, model);
      request.times.concerns(model, count);
      const times = request.times.run;
      return admitItems(request, count, async () => {
        const labels = sampleLabels(model, count, seed, parameters.label, body.label);
        const latents = drawLatents(model.prior, count, seed, temperature);
        // The service takes the memory of what it decodes, and the answer holds the latents, too.
        const outputs = await service.decode(model, latents.slice(), { labels, cancellation, times });
        reply.header('elbo-seed', seed);
        const shape = [count, model.latentSize];
        const fields = { seed, temperature };
        return sendItems(reply, model, type, outputs, { fields, labels, latents: { data: latents, shape } });
      });
    },
  );
};

/**
 * The class that was asked for, or classes as often as they were among the training examples.
 * @returns class numbers, [count]; undefined for a model without condition
 */
function sampleLabels(
  model: ServedModel,
  count: number,
  seed: number,
  inQuery: string | undefined,
  inBody: number | string | undefined,
): number[] | undefined {
  if (inQuery !== undefined) return Array(count).fill(classInQuery(inQuery, model));
  if (inBody !== undefined) return Array(count).fill(classInBody(inBody, 'label', model));
  const { condition } = model.manifest;
  return condition && drawLabels(condition.frequencies, count, seed);
}
