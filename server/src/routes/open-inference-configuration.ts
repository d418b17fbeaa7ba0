import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';
import type { Provider } from '../inference/provider.js';
import type { Batching } from '../inference/service.js';
import { ModelConfigurationSchema, openInferenceProblems } from '../schemas/open-inference.js';
import { GRAPH_PATHS, graphOf } from './graph-paths.js';

type Configuration = Static<typeof ModelConfigurationSchema>;

const ANSWER = {
  description: 'The configuration',
  content: { 'application/json': { schema: ModelConfigurationSchema } },
};

/**
 * How graphs are served, in the words of Triton's model configuration; what it has and this server has not is left out.
 * @see https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
 * @see https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
 */
export const configurationRoutes: FastifyPluginAsyncTypebox = async (app) => {
  for (const { path, params, suffix } of GRAPH_PATHS) {
    app.get(
      `${path}/config`,
      {
        schema: {
          operationId: `modelConfiguration${suffix}`,
          tags: ['open inference protocol'],
          summary: 'How a graph is served',
          params,
          response: { 200: ANSWER, ...openInferenceProblems('MODEL_NOT_FOUND') },
        },
      },
      async (request): Promise<Configuration> => {
        const { batching, registry, status } = app.service;
        const { name, inputs, outputs } = graphOf(registry, request);
        const { maxBatch, batchDelay = 0 } = batching;
        return {
          name,
          platform: 'onnxruntime_onnx',
          backend: 'onnxruntime',
          version_policy: { all: {} },
          max_batch_size: maxBatch,
          input: inputs.map(configuredTensor),
          output: outputs.map(configuredTensor),
          instance_group: instanceGroups(name, status.provider, batching),
          dynamic_batching: {
            preferred_batch_size: [],
            max_queue_delay_microseconds: batchDelay * 1000,
            preserve_ordering: false,
          },
        };
      },
    );
  }
};

function configuredTensor({ name, shape }: { name: string; shape: readonly number[] }): Configuration['input'][number] {
  return { name, data_type: 'TYPE_FP32', dims: [...shape] };
}

/** One group on the CPU, or one for each GPU that workers take in turn. */
function instanceGroups(
  graph: string,
  provider: Provider,
  { workers, devices = [0] }: Batching,
): Configuration['instance_group'] {
  if (provider === 'cpu') return [{ name: `${graph}_0`, kind: 'KIND_CPU', count: workers, gpus: [] }];
  return devices.slice(0, workers).map((device, i) => ({
    name: `${graph}_${i}`,
    kind: 'KIND_GPU',
    count: Math.ceil((workers - i) / devices.length),
    gpus: [device],
  }));
}
