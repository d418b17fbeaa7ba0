import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import type { ConvolutionForm, Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import type { Graph } from '@elbo/training/onnx/graph';
import { simplify } from '@elbo/training/onnx/simplify';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import { buildTrainingGraph } from '@elbo/training/trainer/training-graph';
import { binarises, type Configuration, loadPreset } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { type Objective, vaeObjective } from '@elbo/training/vae/objective';
import { max, median, min } from 'simple-statistics';
import { loadAverage, machine } from './report.js';
import { WORKLOADS } from './workloads.js';

// What the forms of a training graph are worth: the same steps by one form and by the other, in turns in one process.

const RESULTS = new URL('../../training/GRAPHS.md', import.meta.url);
const USAGE = 'npm run bench:graphs -- [--rounds N] [--threads N] [--write]';

interface Subject {
  readonly name: string;
  readonly configuration: Configuration;
  readonly shape: readonly number[];
}

/** How the graph of a subject is written and prepared for the runtime. */
interface Form {
  readonly convolutions: ConvolutionForm;
  prepare(graph: Graph): Graph;
}

const simplified = (graph: Graph) => simplify(graph).graph;
const ASIS: Form = { convolutions: 'products', prepare: (graph) => graph };
const SIMPLIFIED: Form = { convolutions: 'products', prepare: simplified };
const OPERATORS: Form = { convolutions: 'operators', prepare: simplified };

const { rounds, threads, write } = readArguments();
const loadBefore = loadAverage();
const engine = new OnnxRuntimeEngine(threads);
const text = [
  '## Simplification of the graph',
  await simplificationTable(),
  '## Convolutions as matrix products over patches, and as the operators Conv and ConvTranspose',
  await convolutionsTable(),
  `${machine(loadBefore, threads)} ${rounds} pairs of runs of up to 50 steps; median (min–max).`,
].join('\n\n');
console.log(text);
if (write)
  await writeFile(
    RESULTS,
    `# Forms of the training graph\n\nWritten by \`npm run bench:graphs -- --write\`.\n\n${text}\n`,
  );

async function simplificationTable(): Promise<string> {
  const rows: string[] = [];
  const details: string[] = [];
  for (const subject of subjects()) {
    const { name, configuration, shape } = subject;
    const { graph } = buildTrainingGraph(objectiveOf(subject, 'products'), {
      batchSize: configuration.batch_size,
      inputShape: shape,
      inputType: 'uint8',
      binarise: binarises(configuration, 'uint8'),
      averageDecay: 0,
    });
    const start = performance.now();
    const { report } = simplify(graph);
    const milliseconds = performance.now() - start;
    rows.push(
      row(
        name,
        report.nodesBefore,
        report.nodesAfter,
        milliseconds.toFixed(0),
        ...(await compared(subject, ASIS, SIMPLIFIED)),
      ),
    );
    const counts = Object.entries(report.applied).map(([rule, count]) => `${rule} ${count}`);
    details.push(`- ${name}: ${counts.join(', ')}.`);
  }
  const head = row(
    'model',
    'nodes before',
    'after',
    'simplified in, ms',
    'ms a step before',
    'after',
    'saved, median of the pairs',
  );
  return [
    head,
    row(...Array<string>(7).fill('---')),
    ...rows,
    '',
    'How often each rule was applied:',
    '',
    ...details,
  ].join('\n');
}

async function convolutionsTable(): Promise<string> {
  const rows: string[] = [];
  for (const subject of subjects().filter(({ configuration }) => configuration.encoder.convolutions.length > 0)) {
    rows.push(row(subject.name, ...(await compared(subject, OPERATORS, SIMPLIFIED))));
  }
  const head = row('model', 'ms a step by operators', 'by products', 'saved, median of the pairs');
  return [head, row(...Array<string>(4).fill('---')), ...rows].join('\n');
}

/** Milliseconds a step by the first form, by the second, and the share that the second saves. */
async function compared(subject: Subject, ...forms: [Form, Form]): Promise<[string, string, string]> {
  const [first, second] = await measure(subject, forms);
  const saved = first.map((time, i) => 1 - second[i] / time);
  return [spread(first), spread(second), `${(100 * median(saved)).toFixed(0)} %`];
}

function objectiveOf({ configuration, shape }: Subject, convolutions: ConvolutionForm): Objective {
  return vaeObjective(buildModel(configuration, shape, { convolutions }), configuration);
}

/** Milliseconds a step of every round by each form, in turns, after a run each to warm up. */
async function measure(subject: Subject, forms: readonly Form[]): Promise<number[][]> {
  const { configuration, shape } = subject;
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const random = new RandomSource(1);
  const words = Uint32Array.from({ length: (configuration.batch_size * 50 * size) / 4 }, () => random.uint32());
  const examples = inMemory(new Uint8Array(words.buffer), shape);
  const trainers: Trainer[] = [];
  const turnsOf = async ({ convolutions, prepare }: Form) => {
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
    const trainer = await Trainer.create(timed, objectiveOf(subject, convolutions), configuration, examples);
    trainers.push(trainer);
    const runs = (async function* (): AsyncGenerator<Progress, never> {
      for (;;) yield* trainer.runEpoch();
    })();
    return async () => {
      const { value } = await runs.next();
      return milliseconds / value.steps;
    };
  };
  const turns: (() => Promise<number>)[] = [];
  for (const form of forms) turns.push(await turnsOf(form));
  const times = forms.map((): number[] => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, turn] of turns.entries()) {
      const time = await turn();
      if (round > 0) times[i].push(time);
    }
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

function row(...cells: readonly (string | number)[]): string {
  return `| ${cells.join(' | ')} |`;
}

function spread(times: readonly number[]): string {
  return `${median(times).toFixed(2)} (${min(times).toFixed(2)}–${max(times).toFixed(2)})`;
}

function readArguments(): { rounds: number; threads: number; write: boolean } {
  try {
    const { values } = parseArgs({
      options: {
        rounds: { type: 'string', default: '9' },
        threads: { type: 'string', default: String(availableParallelism()) },
        write: { type: 'boolean', default: false },
      },
    });
    const positive = (name: 'rounds' | 'threads') => {
      const value = Number(values[name]);
      if (!(Number.isInteger(value) && value >= 1)) {
        throw new Error(`--${name} ${values[name]}: expected a whole number of at least 1`);
      }
      return value;
    };
    return { rounds: positive('rounds'), threads: positive('threads'), write: values.write };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error} (${USAGE})`);
    process.exit(2);
  }
}
