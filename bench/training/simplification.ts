import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { RandomSource } from '@elbo/models';
import type { Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import { simplify } from '@elbo/training/onnx/simplify';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import { buildTrainingGraph } from '@elbo/training/trainer/training-graph';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel, type Model } from '@elbo/training/vae/model';
import { CONFIGURATION, INPUT_SHAPE } from './workload.js';

// What simplifying the training graph is worth: the same steps with it and without, in turns in one process.

const USAGE = 'npm run bench:simplification -- [--rounds N] [--threads N]';
const PRESETS = new URL('../../../training/presets/', import.meta.url);

interface Subject {
  readonly name: string;
  readonly configuration: Configuration;
  readonly model: Model;
}

/** Milliseconds a step; processor time says more on a busy machine, with one thread above all: threads wait busily. */
interface Turn {
  readonly wall: number;
  readonly processor: number;
}

const { rounds, threads } = readArguments();
const engine = new OnnxRuntimeEngine(threads);
/** The graph as it was built. */
const plain: Pick<Engine, 'compile'> = { compile: (graph) => engine.load(encodeModel(graph)) };
const simplified: Pick<Engine, 'compile'> = { compile: (graph) => engine.load(encodeModel(simplify(graph).graph)) };

const table = [
  '| model | nodes before | after | simplified in, ms | ms a step before | after | processor ms a step before | after | saved of these |',
  '|---|---|---|---|---|---|---|---|---|',
];
const details: string[] = [];
for (const subject of await subjects()) {
  const { name, configuration, model } = subject;
  const start = performance.now();
  const { report } = simplify(buildTrainingGraph(model, configuration, configuration.batch_size));
  const milliseconds = performance.now() - start;
  const { before, after } = await measure(subject);
  const saved = before.map(({ processor }, i) => 1 - after[i].processor / processor);
  const cells = [
    name,
    report.nodesBefore,
    report.nodesAfter,
    milliseconds.toFixed(0),
    spread(before.map(({ wall }) => wall)),
    spread(after.map(({ wall }) => wall)),
    spread(before.map(({ processor }) => processor)),
    spread(after.map(({ processor }) => processor)),
    `${(100 * median(saved)).toFixed(0)} %`,
  ];
  table.push(`| ${cells.join(' | ')} |`);
  const counts = Object.entries(report.applied).map(([rule, count]) => `${rule} ${count}`);
  details.push(`${name}: ${counts.join(', ')}.`);
}
console.log([...table, '', ...details].join('\n'));
console.log(
  `\n${threads} threads, ${rounds} pairs of runs of 50 steps; median (min–max). What is saved is the median over the pairs.`,
);

/** Every round of 50 steps, the two in turns, after a run each to warm up. */
async function measure({ model, configuration }: Subject): Promise<{ before: Turn[]; after: Turn[] }> {
  const size = INPUT_SHAPE.reduce((product, dimension) => product * dimension, 1);
  const count = configuration.batch_size * 50;
  const random = new RandomSource(1);
  const words = Uint32Array.from({ length: (count * size) / 4 }, () => random.uint32());
  const examples = { count, values: new Uint8Array(words.buffer) };
  const trainers = [
    await Trainer.create(plain, model, configuration, examples),
    await Trainer.create(simplified, model, configuration, examples),
  ] as const;
  const [before, after] = trainers.map(turns);
  const times: { before: Turn[]; after: Turn[] } = { before: [], after: [] };
  for (let round = 0; round <= rounds; round++) {
    const [first, second] = [await before(), await after()];
    if (round === 0) continue;
    times.before.push(first);
    times.after.push(second);
  }
  await Promise.all(trainers.map((trainer) => trainer.release()));
  return times;
}

function turns(trainer: Trainer): () => Promise<Turn> {
  const runs = (async function* (): AsyncGenerator<Progress, never> {
    for (;;) yield* trainer.runEpoch();
  })();
  return async () => {
    const cpuBefore = process.cpuUsage();
    const start = performance.now();
    const { value } = await runs.next();
    const wall = (performance.now() - start) / value.steps;
    const cpu = process.cpuUsage(cpuBefore);
    return { wall, processor: (cpu.user + cpu.system) / 1000 / value.steps };
  };
}

async function subjects(): Promise<Subject[]> {
  const preset = async (name: string): Promise<Configuration> =>
    parseConfiguration(JSON.parse(await readFile(new URL(`${name}.json`, PRESETS), 'utf8')));
  const all: [name: string, configuration: Configuration][] = [
    ['mnist-mlp', await preset('mnist-mlp')],
    ['shapes-mlp', await preset('shapes-mlp')],
    ['benchmark', CONFIGURATION],
  ];
  return all.map(([name, configuration]) => ({ name, configuration, model: buildModel(configuration, INPUT_SHAPE) }));
}

function spread(times: readonly number[]): string {
  return `${median(times).toFixed(2)} (${Math.min(...times).toFixed(2)}–${Math.max(...times).toFixed(2)})`;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function readArguments(): { rounds: number; threads: number } {
  try {
    const { values } = parseArgs({
      options: { rounds: { type: 'string', default: '9' }, threads: { type: 'string', default: '2' } },
    });
    const positive = (name: 'rounds' | 'threads') => {
      const value = Number(values[name]);
      if (!(Number.isInteger(value) && value >= 1)) {
        throw new Error(`--${name} ${values[name]}: expected a whole number of at least 1`);
      }
      return value;
    };
    return { rounds: positive('rounds'), threads: positive('threads') };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error} (${USAGE})`);
    process.exit(2);
  }
}
