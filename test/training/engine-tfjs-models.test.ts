import { readFileSync } from 'node:fs';
import type { Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { summarise } from '@elbo/training/onnx/decode';
import { encodeModel } from '@elbo/training/onnx/encode';
import { graphFromModel } from '@elbo/training/onnx/graph-from-model';
import { float32 } from '@elbo/training/onnx/tensor';
import { expect, test } from 'vitest';
import { expectClose, numbersOf, randomWeights } from './support/harness.js';

const MODEL = new URL('../../models/shapes/1/', import.meta.url);

test.each(['encoder', 'decoder', 'scorer'])(
  'the %s of a shipped model runs by tfjs as by ONNX Runtime',
  async (part) => {
    const bytes = readFileSync(new URL(`${part}.onnx`, MODEL));
    const { inputs, description } = summarise(bytes);
    expect(bytes.equals(encodeModel(graphFromModel(bytes), description, new Set(), { compact: true }))).toBe(true);
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([name, { shape }], i) => {
        const { shape: lengths, data } = randomWeights([3, ...shape.slice(1).map(Number)], i);
        // Pixels lie between 0 and 1.
        return [
          name,
          float32(
            Array.from<number | bigint>(data).map((x) => Math.abs(Number(x)) / 1.5),
            lengths,
          ),
        ];
      }),
    );
    const run = async (engine: Engine) => {
      const program = await engine.load(bytes);
      const outputs = await program.run(feeds);
      await program.release();
      return outputs;
    };
    const [actual, expected] = [await run(await TfjsEngine.create()), await run(new OnnxRuntimeEngine(1))];
    expect(Object.keys(actual)).toEqual(Object.keys(expected));
    for (const [name, value] of Object.entries(expected)) {
      expect(actual[name].shape).toEqual(value.shape);
      expectClose(numbersOf(actual[name]), numbersOf(value), 1e-3, name);
    }
  },
);
