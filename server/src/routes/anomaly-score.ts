import { largestContributions } from '@elbo/models';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { pngFromErrorMap } from '../codecs/image-output.js';
import { type EncodedItems, itemsFromBase64, itemsFromList } from '../codecs/items.js';
import type { ServedModel } from '../inference/model.js';
import { ProblemError } from '../problems.js';
import { BODY_PROBLEMS, IMAGE_PROBLEMS, INFERENCE_PROBLEMS, problems, query } from '../schemas/common.js';
import { answer, INPUT_CONTENT } from '../schemas/inference.js';
import { sendFloat32, sendJson, sendPng } from './inference-reply.js';
import {
  BINARY_TYPE,
  clientGone,
  itemOutputTypes,
  itemsOf,
  JSON_TYPE,
  outputType,
  PNG_TYPE,
  timed,
} from './inference-request.js';
import { labelsOf } from './request-labels.js';

/** Columns that an item's explanation names, if not told otherwise, and at most. */
const DEFAULT_CONTRIBUTIONS = 3;
const MAX_CONTRIBUTIONS = 1000;

const NOTHING = new Float32Array(0);

const QUESTION = {
  fpr: Type.Optional(
    Type.Number({ description: "False positive rate of the threshold; the model's default if left out" }),
  ),
  explain: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_CONTRIBUTIONS,
      default: DEFAULT_CONTRIBUTIONS,
      description: 'Of tables, in JSON: how many of the columns that contribute most are named for each item',
    }),
  ),
};

const ANSWER = answer('Scores, larger is more anomalous', 'AnomalyScores', {
  'image/png': 'Where each item is unlike what the model knows: the error over the item, one image or a grid',
  'application/octet-stream': 'The error map as little-endian float32, N x input shape: nats of each number',
});

export const anomalyScoreRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/anomaly-score',
    {
      schema: {
        operationId: 'scoreAnomalies',
        tags: ['inference'],
        summary: 'How unlike the training data items are, with a p-value',
        querystring: query(QUESTION),
        body: { content: INPUT_CONTENT },
        response: {
          200: ANSWER,
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS, 'RATE_NOT_STATED'),
        },
      },
    },
    async (request, reply) => {
      const model = app.service.registry.get(request.query.model, request.query.version);
      return score(request, reply, model, itemsOf(request, model), request.query);
    },
  );

  app.get(
    '/anomaly-score',
    {
      schema: {
        operationId: 'scoreAnomaly',
        tags: ['inference'],
        summary: 'How unlike the training data one item is, with a p-value',
        querystring: query({
          input: Type.Optional(Type.String({ description: 'A PNG, JPEG or WebP image as base64url' })),
          values: Type.Optional(Type.String({ description: 'The numbers of one item, separated by commas' })),
          ...QUESTION,
        }),
        response: {
          200: ANSWER,
          ...problems(
            ...INFERENCE_PROBLEMS,
            ...IMAGE_PROBLEMS,
            'INVALID_INPUT',
            'RATE_NOT_STATED',
            'HEADERS_TOO_LARGE',
          ),
        },
      },
    },
    async (request, reply) => {
      const { model: name, version, input, values } = request.query;
      const model = app.service.registry.get(name, version);
      if ((input === undefined) === (values === undefined)) {
        throw new ProblemError('INVALID_REQUEST', 'expected one of the query parameters input and values');
      }
      const items =
        values === undefined
          ? itemsFromBase64(input ?? '', 'input', model.manifest.input)
          : itemsFromList(values, 'values', model.manifest.input);
      return score(request, reply, model, timed(request, model, items), request.query);
    },
  );

  async function score(
    request: FastifyRequest,
    reply: FastifyReply,
    model: ServedModel,
    items: EncodedItems,
    { fpr: falsePositiveRate, explain = DEFAULT_CONTRIBUTIONS }: { readonly fpr?: number; readonly explain?: number },
  ): Promise<FastifyReply> {
    const { service } = app;
    const { input } = model.manifest;
    const type = outputType(request, itemOutputTypes(model));
    const isTable = input.kind === 'vector';
    const parts = type !== JSON_TYPE || (isTable && explain > 0);
    const signal = clientGone(reply);
    return service.admit(items.count, async () => {
      const labels = labelsOf(request, model, items.count);
      const data = await items.decode();
      // The service takes the memory of what it scores, and an explanation shows the items, too.
      const scored = parts ? data.slice() : data;
      const scoring = await service.score(model, scored, {
        falsePositiveRate,
        parts,
        labels,
        signal,
        times: request.times.run,
      });
      const { errorMap = NOTHING, expected = NOTHING } = scoring.parts ?? {};
      if (type === BINARY_TYPE) return sendFloat32(reply, model, errorMap, [items.count, ...input.shape]);
      if (type === PNG_TYPE && !isTable) {
        const png = await request.times.during('encode', () => pngFromErrorMap(data, errorMap, input));
        return sendPng(reply, model, png);
      }
      const row = (values: Float32Array, i: number) => values.subarray(i * model.itemSize, (i + 1) * model.itemSize);
      return sendJson(reply, model, {
        labels,
        false_positive_rate: scoring.falsePositiveRate,
        threshold: scoring.threshold,
        scores: scoring.scores.map((one, i) => ({
          score: one.score,
          p_value: one.pValue,
          is_anomaly: one.isAnomaly,
          components: one.components,
          ...(isTable &&
            parts && {
              contributions: largestContributions(
                { observed: row(data, i), expected: row(expected, i), errors: row(errorMap, i) },
                input.columns,
                explain,
              ),
            }),
        })),
      });
    });
  }
};
