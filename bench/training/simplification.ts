import { parseArgs } from 'node:util';
import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import type { Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import type { Graph } from '@elbo/training/onnx/graph';
import { simplify } from '@elbo/training/onnx/simplify';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import { buildTrainingGraph } from '@elbo/training/trainer/training-graph';
import { binarises, type Configuration, loadPreset } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { type Objective, vaeObjective } from '@elbo/training/vae/objective';
import { WORKLOADS } from './workloads.js';

// What simplifying the training graph is worth: the same steps with it and without, in turns in one process.

const USAGE = 'npm run bench:simplification -- [--rounds N] [--threads N]';

interface Subject {
  readonly name: string;
  readonly configuration: Configuration;
  readonly shape: readonly number[];
}

const { rounds, threads } = readArguments();
const engine = new OnnxRuntimeEngine(threads);

const table = [
  '| model | nodes before | after | simplified in, ms | ms a step before | after | saved, median of the pairs |',
  '|---|---|---|---|---|---|---|',
];
const details: string[] = [];
for (const subject of subjects()) {
  const { name, configuration, shape } = subject;
  const { graph } = buildTrainingGraph(objectiveOf(subject), {
    batchSize: configuration.batch_size,
    inputShape: shape,
    inputType: 'uint8',
    binarise: binarises(configuration, 'uint8'),
    averageDecay: 0,
  });
  const start = performance.now();
  const { report } = simplify(graph);
  const milliseconds = performance.now() - start;
  const { before, after } = await measure(subject);
  const saved = before.map((time, i) => 1 - after[i] / time);
  const cells = [
    name,
    report.nodesBefore,
    report.nodesAfter,
    milliseconds.toFixed(0),
    spread(before),
    spread(after),
    `${(100 * median(saved)).toFixed(0)} %`,
  ];
  table.push(`| ${cells.join(' | ')} |`);
  const counts = Object.entries(report.applied).map(([rule, count]) => `${rule} ${count}`);
  details.push(`${name}: ${counts.join(', ')}.`);
}
console.log([...table, '', ...details].join('\n'));
console.log(`\n${threads} threads, ${rounds} pairs of runs of up to 50 steps; median (min–max).`);

function objectiveOf({ configuration, shape }: Subject): Objective {
  return vaeObjective(buildModel(configuration, shape, { convolutions: engine.convolutions }), configuration);
}

/** Milliseconds a step of every round, the two in turns, after a run each to warm up. */
async function measure(subject: Subject): Promise<{ before: number[]; after: number[] }> {
  const { configuration, shape } = subject;
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const random = new RandomSource(1);
  const words = Uint32Array.from({ length: (configuration.batch_size * 50 * size) / 4 }, () => random.uint32());
  const examples = inMemory(new Uint8Array(words.buffer), shape);
  const trainers: Trainer[] = [];
  const turnsOf = async (prepare: (graph: Graph) => Graph) => {
    let milliseconds = 0;
    const timed: Pick<Engine, 'compile'> = {
      async compile(graph) {
        const program = await engine.load(encodeModel(prepare(graph)));
        return {
          async run(feeds) {
            const start = performance.now();
            const outputs = await program.run(feeds);
            milliseconds = performance.now() - start;
            return outputs;
          },
          release: () => program.release(),
        };
      },
    };
    const trainer = await Trainer.create(timed, objectiveOf(subject), configuration, examples);
    trainers.push(trainer);
    const runs = (async function* (): AsyncGenerator<Progress, never> {
      for (;;) yield* trainer.runEpoch();
    })();
    return async () => {
      const { value } = await runs.next();
      return milliseconds / value.steps;
    };
  };
  const [before, after] = [await turnsOf((graph) => graph), await turnsOf((graph) => simplify(graph).graph)];
  const times: { before: number[]; after: number[] } = { before: [], after: [] };
  for (let round = 0; round <= rounds; round++) {
    const [first, second] = [await before(), await after()];
    if (round === 0) continue;
    times.before.push(first);
    times.after.push(second);
  }
  await Promise.all(trainers.map((trainer) => trainer.release()));
  return times;
}

function subjects(): Subject[] {
  const presets = ['mnist-mlp', 'mnist-conv'].map((name) => ({
    name,
    configuration: loadPreset(name),
    shape: [1, 28, 28],
  }));
  const workloads = Object.entries(WORKLOADS).map(([name, { configuration, shape }]) => ({
    name: `workload (${name})`,
    configuration,
    shape,
  }));
  return [...presets, ...workloads];
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
