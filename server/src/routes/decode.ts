import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { numbersFromFloat32 } from '../codecs/float32.js';
import { latentsFromJson } from '../codecs/latents.js';
import { contentTypeOf } from '../plugins/content.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query } from '../schemas/common.js';
import { answer, ITEM_OUTPUTS, LATENTS_CONTENT } from '../schemas/inference.js';
import { sendItems } from './inference-reply.js';
import { BINARY_TYPE, clientGone, itemOutputTypes, outputType } from './inference-request.js';
import { labelsOf } from './request-labels.js';

export const decodeRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/decode',
    {
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
      const signal = clientGone(reply);
      const model = service.registry.get(request.query.model, request.query.version);
      const type = outputType(request, itemOutputTypes(model));
      const latents = request.times.during('decode', () =>
        contentTypeOf(request) === BINARY_TYPE
          ? numbersFromFloat32(request.body as Buffer, { shape: [model.latentSize] })
          : latentsFromJson((request.body as { latents: unknown[] }).latents, model.latentSize),
      );
      const count = latents.length / model.latentSize;
      request.times.concerns(model, count);
      return service.admit(count, async () => {
        const labels = labelsOf(request, model, count);
        const outputs = await service.decode(model, latents, { labels, signal, times: request.times.run });
        return sendItems(reply, model, type, outputs, { labels });
      });
    },
  );
};
