import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { gradients } from '@elbo/training/autodiff/gradients';
import { type Examples, meanPerFeature } from '@elbo/training/data/dataset';
import type { Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { ElboEvaluator } from '@elbo/training/evaluation/elbo';
import { boundWeights } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { add, reduceSumSquare, sqrt } from '@elbo/training/onnx/ops';
import { elementCount, float32, type TensorData } from '@elbo/training/onnx/tensor';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import { binarises } from '@elbo/training/vae/configuration';
import { buildModel, type Model } from '@elbo/training/vae/model';
import { type Objective, vaeObjective } from '@elbo/training/vae/objective';
import { fromOnnxOrder } from './kernel-order.js';
import type { Check, Command, Evaluation, Job, Ready, Turn } from './protocol.js';
import { WORKLOADS } from './workloads.js';

// A contender's process on one of Elbo's engines: `node elbo-contender.js onnxruntime|tfjs|tfjs-wasm`.

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => ((await lines.next()).value ?? '{"do":"quit"}') as string;
const say = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const job = JSON.parse(await next()) as Job;
const { configuration: preset, shape } = WORKLOADS[job.workload];
const stepsPerEpoch = Math.floor(job.data.count / job.batch_size);
const configuration = { ...preset, seed: job.seed, epochs: Math.ceil(job.total_steps / stepsPerEpoch) };
const engine = await createEngine(process.argv[2]);
// Read from their files as training goes, as large data sets are.
const inFile = (path: string, count: number): Examples => ({
  count,
  shape,
  dtype: 'uint8',
  storage: { kind: 'file', path, offset: 0 },
});
const train = inFile(job.data.train, job.data.count);
const model = buildModel(configuration, shape, {
  moments: await meanPerFeature(train),
  convolutions: engine.convolutions,
});
const objective = vaeObjective(model, configuration);
const trainer = await Trainer.create(engine, objective, configuration, train);
const evaluator = await ElboEvaluator.create(engine, model, {
  examples: inFile(job.data.validation, job.data.validation_count),
  seed: job.seed,
  binarise: binarises(configuration, train.dtype),
});
const runs = (async function* (): AsyncGenerator<Progress, never> {
  for (;;) yield* trainer.runEpoch();
})();
say({
  ready: true,
  library: engine.name,
  variant: engine instanceof TfjsEngine ? engine.backend : engine.device,
} satisfies Ready);

for (let command = await read(); command.do !== 'quit'; command = await read()) {
  switch (command.do) {
    case 'train':
      say(await turn(command.steps));
      break;
    case 'evaluate': {
      const { negativeElbo } = await evaluator.evaluate(trainer.weights);
      say({ negative_elbo: negativeElbo, peak_rss: peakMemory() } satisfies Evaluation);
      break;
    }
    case 'check':
      say(await check(model, objective, command));
  }
}
process.exit(0);

async function read(): Promise<Command> {
  return JSON.parse(await next()) as Command;
}

async function createEngine(name: string): Promise<Engine> {
  switch (name) {
    case 'onnxruntime':
      return new OnnxRuntimeEngine(job.threads);
    case 'tfjs':
      return TfjsEngine.create();
    case 'tfjs-wasm':
      return TfjsEngine.create({ backend: 'wasm', productGradient: 'rewritten' });
    default:
      throw new Error(`engine is ${name}; expected onnxruntime, tfjs or tfjs-wasm`);
  }
}

/** Whole runs of the graph until there are enough steps. */
async function turn(wanted: number): Promise<Turn> {
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  let [steps, loss] = [0, 0];
  while (steps < wanted) {
    const { value } = await runs.next();
    steps += value.steps;
    loss += value.steps * value.metrics.loss;
  }
  const ms = performance.now() - start;
  const cpu = process.cpuUsage(cpuBefore);
  return { steps, ms, cpu_ms: (cpu.user + cpu.system) / 1000, loss: loss / steps, peak_rss: peakMemory() };
}

/** Loss and norm of the gradient of one batch at given weights. */
async function check(
  { parameters, latentSize }: Model,
  { build }: Objective,
  files: { readonly weights: string; readonly x: string; readonly noise: string },
): Promise<Check> {
  const [weights, x, noise] = await Promise.all([files.weights, files.x, files.noise].map(readFloats));
  const rows = noise.length / latentSize;
  const graph = new Graph('check');
  const tensors = parameters.map((parameter) => graph.input(parameter.name, 'float32', parameter.shape));
  const { losses } = build(
    {
      x: graph.input('x', 'float32', [rows, ...shape]),
      noise: { z: graph.input('noise', 'float32', [rows, latentSize]) },
      scheduled: { kl_weight: graph.constant(float32([1], [])) },
    },
    boundWeights(parameters, tensors),
  );
  const squares = gradients(losses.elbo, tensors).map((gradient) => reduceSumSquare(gradient));
  graph.output(losses.elbo, 'loss');
  graph.output(sqrt(squares.reduce((sum, square) => add(sum, square))), 'gradient_norm');
  const program = await engine.compile(graph);
  const feeds: Record<string, TensorData> = {
    x: float32(x, [rows, ...shape]),
    noise: float32(noise, [rows, latentSize]),
  };
  let at = 0;
  for (const parameter of parameters) {
    const size = elementCount(parameter.shape);
    feeds[parameter.name] = float32(fromOnnxOrder(weights.subarray(at, at + size), parameter.shape), parameter.shape);
    at += size;
  }
  const outputs = await program.run(feeds);
  await program.release();
  return { loss: Number(outputs.loss.data[0]), gradient_norm: Number(outputs.gradient_norm.data[0]) };
}

async function readFloats(path: string): Promise<Float32Array> {
  return new Float32Array(Uint8Array.from(await readFile(path)).buffer);
}

function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}
