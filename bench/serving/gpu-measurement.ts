import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type LoadedModel, listModels, RandomSource, readModel } from '@elbo/models';
import { type ModelCall, servedModel } from '@elbo/server/inference/model';
import { GraphSession } from '@elbo/server/inference/onnxruntime';
import type { Provider } from '@elbo/server/inference/provider';
import { inputTensors } from '@elbo/server/inference/rows';

export const BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] as const;
/** The model whose graphs are timed. */
export const TIMED = 'mnist';
const PARITY_ROWS = 16;

export interface ProviderResult {
  /** From the start of the process to the encoder's first answer, in ms, and how long the second took. */
  readonly firstAnswerMs: number;
  readonly secondAnswerMs: number;
  /** Resident set with the encoder loaded and run, in bytes. */
  readonly residentBytes: number;
  /** Memory in use on the first NVIDIA card at that time, by whichever process, in MiB; undefined elsewhere. */
  readonly cardMib: number | undefined;
  /** Items a second of each call at each of the batch sizes. */
  readonly rates: Readonly<Record<string, readonly number[]>>;
  /** The largest difference from the CPU of each shipped model, of a number or of 1, whichever is larger. */
  readonly differences: Readonly<Record<string, number>>;
}

/**
 * Measures one provider, which has this process to itself.
 * @param directory the model store
 * @param seconds for each call and batch size
 */
export async function measure(provider: Provider, directory: string, seconds: number): Promise<ProviderResult> {
  const loaded = await Promise.all((await listModels(directory)).map(({ directory: version }) => readModel(version)));
  const timed = loaded.find(({ manifest }) => manifest.name === TIMED);
  if (timed === undefined) throw new Error(`there is no ${TIMED} in ${directory}`);
  const { encode } = servedModel(timed).calls;
  const first = await open(provider, timed, encode);
  await run(first, encode, randomRows(encode, 1));
  const firstAnswerMs = performance.now();
  await run(first, encode, randomRows(encode, 1));
  const secondAnswerMs = performance.now() - firstAnswerMs;
  const residentBytes = residentSet();
  const cardMib = provider === 'cuda' ? usedOnCard() : undefined;
  await first.release();
  const rates: Record<string, number[]> = {};
  for (const [name, call] of Object.entries(servedModel(timed).calls)) {
    if (name === 'scoreInParts') continue;
    const session = await open(provider, timed, call);
    rates[name] = [];
    for (const rows of BATCHES) rates[name].push(await rate(session, call, rows, seconds));
    await session.release();
  }
  const differences: Record<string, number> = {};
  for (const model of loaded) {
    const { key, calls } = servedModel(model);
    differences[key] = 0;
    for (const call of Object.values(calls)) {
      differences[key] = Math.max(differences[key], await difference(provider, model, call));
    }
  }
  return { firstAnswerMs, secondAnswerMs, residentBytes, cardMib, rates, differences };
}

function open(provider: Provider, { graphs }: LoadedModel, { role }: ModelCall): Promise<GraphSession> {
  return GraphSession.load(graphs[role], { provider, threads: 1 });
}

function run(session: GraphSession, call: ModelCall, data: Float32Array) {
  return session.run(inputTensors(call.inputs, data, data.length / call.rowSize), call.outputs);
}

/** Uniform over 0 to 1, which an encoder takes as pixels, a decoder as latents and a conditional model's graphs as a label. */
function randomRows(call: ModelCall, rows: number): Float32Array {
  const random = new RandomSource(1);
  return new Float32Array(rows * call.rowSize).map(() => random.uniform());
}

/** Items a second; what is uploaded and read back counts. */
async function rate(session: GraphSession, call: ModelCall, rows: number, seconds: number): Promise<number> {
  const data = randomRows(call, rows);
  await run(session, call, data);
  const start = performance.now();
  let items = 0;
  do {
    await run(session, call, data);
    items += rows;
  } while (performance.now() - start < seconds * 1000);
  return (items * 1000) / (performance.now() - start);
}

async function difference(provider: Provider, model: LoadedModel, call: ModelCall): Promise<number> {
  const data = randomRows(call, PARITY_ROWS);
  const [expected, actual] = await Promise.all(
    (['cpu', provider] as const).map(async (each) => {
      const session = await open(each, model, call);
      const outputs = await run(session, call, data);
      await session.release();
      return outputs;
    }),
  );
  let largest = 0;
  for (const name of call.outputs) {
    for (const [i, value] of (expected?.[name]?.data ?? []).entries()) {
      const off = Math.abs((actual?.[name]?.data[i] ?? Number.NaN) - value);
      if (Number.isNaN(off)) return Number.NaN;
      largest = Math.max(largest, off / Math.max(1, Math.abs(value)));
    }
  }
  return largest;
}

function residentSet(): number {
  return 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}

function usedOnCard(): number | undefined {
  const fields = ['--query-gpu=memory.used', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', fields, { encoding: 'utf8' });
  const mib = Number.parseInt(stdout ?? '', 10);
  return Number.isNaN(mib) ? undefined : mib;
}
