import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { numbersFromFloat32 } from '../codecs/float32.js';
import { decodeLatent, latentsFromJson } from '../codecs/latents.js';
import { numbersFromNpy } from '../codecs/npy.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query } from '../schemas/common.js';
import { answer, ITEM_OUTPUTS, LATENTS_CONTENT } from '../schemas/inference.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { itemLines, sendItems } from './inference-reply.js';
import { BINARY_TYPE, clientGone, itemOutputType, NPY_TYPE } from './inference-request.js';
import { answerLines, hasLines } from './line-stream.js';
import { labelsOf } from './request-labels.js';

export const decodeRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/decode',
    {
      onRequest: refuseWhenFull,
      schema: {
        operationId: 'decode',
        tags: ['inference'],
        summary: 'Decode latents: the expected item for each',
        querystring: query({}),
        body: { content: LATENTS_CONTENT },
        response: {
          200: answer('The decoded items', 'Decoding', ITEM_OUTPUTS),
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS),
        },
      },
    },
    async (request, reply) => {
      const { service } = app;
      const cancellation = clientGone(reply);
      const model = service.registry.get(request.query.model, request.query.version);
      if (hasLines(request)) {
        return answerLines(app, request, reply, model, {
          size: model.latentSize,
          key: 'latent',
          decode: decodeLatent,
          answer: async (rows, options) => itemLines(model, await service.decode(model, rows, options), options.labels),
        });
      }
      const type = itemOutputType(request, model);
      const latents = request.times.during('decode', () => latentsOf(request, model));
      const count = latents.length / model.latentSize;
      request.times.concerns(model, count);
      return admitItems(request, count, async () => {
        const labels = labelsOf(request, model, count);
        const outputs = await service.decode(model, latents, { labels, cancellation, times: request.times.run });
        return sendItems(reply, model, type, outputs, { labels });
      });
    },
  );
};

/** The latents in a request's body, N x Z. */
function latentsOf(request: FastifyRequest, { latentSize }: ServedModel): Float32Array {
  switch (contentTypeOf(request)) {
    case BINARY_TYPE:
      return numbersFromFloat32(request.body as Buffer, { shape: [latentSize] });
    case NPY_TYPE:
      return numbersFromNpy(request.body as Buffer, { shape: [latentSize] });
    default:
      return latentsFromJson((request.body as { latents: unknown[] }).latents, latentSize);
  }
}
