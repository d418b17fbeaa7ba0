import { EngineError } from '@elbo/training/engines/engine-error';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { Graph } from '@elbo/training/onnx/graph';
import { add } from '@elbo/training/onnx/ops';
import { Trainer } from '@elbo/training/trainer/trainer';
import type { Configuration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import { describe, expect, test } from 'vitest';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const { train: examples } = barsDataset(64);
const DEVICES = ['cuda', 'webgpu'] as const;

/** Why a device cannot be used here, if so. */
async function absence(device: (typeof DEVICES)[number]): Promise<string | undefined> {
  const graph = new Graph('probe');
  const x = graph.input('x', 'float32', [2]);
  graph.output(add(x, x), 'y');
  try {
    await (await new OnnxRuntimeEngine(1, device).compile(graph)).release();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    expect((error as Error).message).toMatch(new RegExp(`^device ${device} cannot be used: .+`));
    expect((error as Error).message).not.toContain('\n');
    return (error as Error).message;
  }
}

async function losses(engine: OnnxRuntimeEngine, configuration: Configuration): Promise<number[]> {
  const model = buildModel(configuration, examples.shape, { convolutions: engine.convolutions });
  const trainer = await Trainer.create(engine, vaeObjective(model, configuration), configuration, examples);
  const all: number[] = [];
  while (all.length < 20) for await (const { values } of trainer.runEpoch()) all.push(...values.loss);
  await trainer.release();
  return all;
}

const convolutions = (...channels: number[]) =>
  channels.map((count) => ({ channels: count, kernel: 4, stride: 2, padding: 1 }));
const FAMILIES: Readonly<Record<string, Partial<Configuration>>> = {
  perceptron: {},
  convolutional: {
    encoder: { convolutions: convolutions(4, 6), hidden: [] },
    decoder: { convolutions: convolutions(6, 4), hidden: [] },
  },
  gaussian: { likelihood: 'gaussian' },
};

for (const device of DEVICES) {
  const reason = await absence(device);
  describe(`training on ${device} is training on the CPU`, () => {
    test.runIf(reason === undefined).each(Object.entries(FAMILIES))(
      '%s',
      async (_, changes) => {
        const configuration = tinyConfiguration({ batch_size: 16, epochs: 10, ...changes });
        const expected = await losses(new OnnxRuntimeEngine(1), configuration);
        const actual = await losses(new OnnxRuntimeEngine(1, device), configuration);
        for (const [step, loss] of expected.entries()) {
          expect(Math.abs(actual[step] / loss - 1), `step ${step}`).toBeLessThan(1e-3);
        }
      },
      300_000,
    );
    test.skipIf(reason === undefined)(`not here: ${reason}`, () => {});
  });
}
