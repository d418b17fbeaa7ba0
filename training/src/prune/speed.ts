import type { LoadedModel } from '@elbo/models';
import type { Engine } from '../engines/engine.js';
import { float32 } from '../onnx/tensor.js';

/** How much faster one model reconstructs than another. */
export interface Speed {
  readonly batch: number;
  /** Of a run of encoder and decoder, in milliseconds: the median. */
  readonly before: number;
  readonly after: number;
  readonly ratio: number;
}

/** Rounds of both models, one after the other, so that what else the machine does meets both. */
const ROUNDS = 30;
/** Of one round. */
const SECONDS = 0.02;

/** Encoder, then decoder from the posterior means, of two models of the same input, at some batch sizes. */
export async function compareSpeed(
  engine: Pick<Engine, 'load'>,
  models: { readonly before: LoadedModel; readonly after: LoadedModel },
  batches: readonly number[],
): Promise<Speed[]> {
  const runs = [await reconstruction(engine, models.before), await reconstruction(engine, models.after)];
  try {
    const speeds: Speed[] = [];
    for (const batch of batches) {
      const times: number[][] = [[], []];
      for (let round = 0; round <= ROUNDS; round++) {
        for (const [i, { run }] of runs.entries()) {
          const time = await timeOf(() => run(batch));
          // The first round only warms up.
          if (round > 0) times[i].push(time);
        }
      }
      const [before, after] = times.map(median);
      speeds.push({ batch, before, after, ratio: before / after });
    }
    return speeds;
  } finally {
    for (const { release } of runs) await release();
  }
}

async function reconstruction(engine: Pick<Engine, 'load'>, { graphs, manifest }: LoadedModel) {
  const encoder = await engine.load(graphs.encoder);
  const decoder = await engine.load(graphs.decoder);
  const { shape } = manifest.input;
  const size = shape.reduce((product, length) => product * length, 1);
  return {
    async run(batch: number) {
      const x = float32(new Float32Array(batch * size).fill(0.5), [batch, ...shape]);
      const { mean } = await encoder.run({ x });
      await decoder.run({ z: mean });
    },
    release: async () => {
      await encoder.release();
      await decoder.release();
    },
  };
}

/** Milliseconds that a run takes. */
async function timeOf(run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  let count = 0;
  do {
    await run();
    count++;
  } while (performance.now() - start < 1000 * SECONDS);
  return (performance.now() - start) / count;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
