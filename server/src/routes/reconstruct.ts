import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { jsonItemDecoder } from '../codecs/items.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query } from '../schemas/common.js';
import { answer, ITEM_OUTPUTS, STREAM_CONTENT } from '../schemas/inference.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { itemLines, sendItems } from './inference-reply.js';
import { clientGone, itemOutputType, itemsOf } from './inference-request.js';
import { answerLines, hasLines } from './line-stream.js';
import { labelsOf } from './request-labels.js';

export const reconstructRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/reconstruct',
    {
      onRequest: refuseWhenFull,
      schema: {
        operationId: 'reconstruct',
        tags: ['inference'],
        summary: 'Encode and decode: what the model makes of each item',
        querystring: query({}),
        body: { content: STREAM_CONTENT },
        response: {
          200: answer('The reconstructions, from the means of q(z|x)', 'Decoding', ITEM_OUTPUTS),
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
          size: model.itemSize,
          key: 'input',
          decode: jsonItemDecoder(model.manifest.input),
          answer: async (rows, options) =>
            itemLines(model, await service.reconstruct(model, rows, options), options.labels),
        });
      }
      const type = itemOutputType(request, model);
      const items = itemsOf(request, model);
      return admitItems(request, items.count, async () => {
        const labels = labelsOf(request, model, items.count);
        const times = request.times.run;
        const outputs = await service.reconstruct(model, await items.decode(), { labels, cancellation, times });
        return sendItems(reply, model, type, outputs, { labels });
      });
    },
  );
};
