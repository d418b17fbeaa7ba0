import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { type EncodedItems, itemsFromJson } from '../codecs/items.js';
import { latentsFromJson } from '../codecs/latents.js';
import type { Form } from '../codecs/multipart.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { ProblemError } from '../problems.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query } from '../schemas/common.js';
import {
  answer,
  INPUT_CONTENT,
  type InterpolateBody,
  InterpolateParameters,
  ITEM_OUTPUTS,
} from '../schemas/inference.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { sendItems } from './inference-reply.js';
import { clientGone, FORM_TYPE, itemOutputType, itemsOf, JSON_TYPE } from './inference-request.js';
import { latentPath } from './latent-path.js';
import { classOnPath } from './request-labels.js';

const DEFAULT_STEPS = 8;

type Body = Partial<Static<typeof InterpolateBody>>;

export const interpolateRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/interpolate',
    {
      onRequest: refuseWhenFull,
      schema: {
        operationId: 'interpolate',
        tags: ['inference'],
        summary: 'Decode latents on the way from one item to another, or from one latent to another',
        querystring: query(InterpolateParameters),
        body: { content: { ...INPUT_CONTENT, 'application/json': { schema: { $ref: 'InterpolateRequest#' } } } },
        response: {
          200: answer('The items on the path, both ends included', 'Interpolation', ITEM_OUTPUTS),
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS),
        },
      },
    },
    async (request, reply) => {
      const { service } = app;
      const cancellation = clientGone(reply);
      const { model: name, version, label: labelInQuery, ...parameters } = request.query;
      const body: Body = contentTypeOf(request) === JSON_TYPE ? (request.body as Body) : {};
      const twice = Object.keys(body).find((key) => key in request.query);
      if (twice !== undefined) {
        throw new ProblemError('INVALID_REQUEST', `${twice} is given twice, in the query and in the body`);
      }
      const { steps = DEFAULT_STEPS, path = 'linear' } = { ...parameters, ...body };
      const model = service.registry.get(name, version);
      const type = itemOutputType(request, model);
      const label = classOnPath(model, labelInQuery, body.label);
      const labels = (count: number) => (label === undefined ? undefined : Array<number>(count).fill(label));
      const ends = endsOf(request, model, body);
      return admitItems(request, Math.max(steps, 2), async () => {
        const latents =
          ends instanceof Float32Array
            ? ends
            : (await service.encode(model, await ends.decode(), { labels: labels(2), cancellation })).mean;
        const onPath = latentPath(
          latents.subarray(0, model.latentSize),
          latents.subarray(model.latentSize),
          steps,
          path,
        );
        // The service takes the memory of what it decodes, and the answer holds the latents, too.
        const outputs = await service.decode(model, onPath.slice(), { labels: labels(steps), cancellation });
        return sendItems(reply, model, type, outputs, {
          fields: { path },
          labels: labels(steps),
          latents: { data: onPath, shape: [steps, model.latentSize] },
        });
      });
    },
  );
};

/**
 * Both ends: latents as they are, [2, Z], or items to encode.
 * @throws {ProblemError} INVALID_REQUEST where they are not two of one kind
 * @throws {CodecError} INVALID_INPUT
 */
function endsOf(request: FastifyRequest, model: ServedModel, body: Body): Float32Array | EncodedItems {
  if (contentTypeOf(request) === JSON_TYPE) {
    const { inputs, latents } = body;
    if (inputs !== undefined && latents === undefined) return itemsFromJson(inputs, model.manifest.input);
    if (latents !== undefined && inputs === undefined) return latentsFromJson(latents, model.latentSize);
    throw new ProblemError('INVALID_REQUEST', 'expected one of the body fields inputs and latents');
  }
  if (contentTypeOf(request) === FORM_TYPE && (request.body as Form).labels !== undefined) {
    throw new ProblemError(
      'INVALID_REQUEST',
      'form field labels is given; expected the query parameter label, one class for the whole path',
    );
  }
  const items = itemsOf(request, model);
  if (items.count !== 2) {
    throw new ProblemError('INVALID_REQUEST', `the body has ${items.count} items; expected 2, the ends of the path`);
  }
  return items;
}
