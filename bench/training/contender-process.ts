import { inBytes } from '@elbo/training/evaluation/batches';
import type { TensorData } from '@elbo/training/onnx/tensor';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import type { StepMetric } from '@elbo/training/trainer/training-graph';
import { type Compiler, type Contender, createEngine, type Ready, type Turn } from './contenders.js';
import { createWorkload } from './workload.js';

// A process of one contender: it trains one turn for every message of its parent, and answers with a Turn.

let outputs: Readonly<Record<string, TensorData>> = {};

const workload = await createWorkload();
const engine = keepOutputs(await createEngine(process.argv[2] as Contender, workload));
const trainer = await Trainer.create(engine, workload.model, workload.configuration, await inBytes(workload.examples));
const runs = (async function* (): AsyncGenerator<Progress, never> {
  for (;;) yield* trainer.runEpoch();
})();

process.on('message', async () => {
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  const { value } = await runs.next();
  const milliseconds = performance.now() - start;
  const cpu = process.cpuUsage(cpuBefore);
  const turn: Turn = {
    steps: value.steps,
    milliseconds,
    cpuMilliseconds: (cpu.user + cpu.system) / 1000,
    metrics: {
      loss: valuesOf('loss'),
      reconstruction: valuesOf('reconstruction'),
      kl: valuesOf('kl'),
      gradient_norm: valuesOf('gradient_norm'),
    },
    peakMemory: process.resourceUsage().maxRSS * 1024,
  };
  process.send?.(turn);
});
const { batchSize, stepsPerEpoch } = trainer;
const ready: Ready = { data: workload.data, batchSize, stepsPerEpoch };
process.send?.(ready);

function valuesOf(metric: StepMetric): number[] {
  return [...(outputs[metric].data as Float32Array)];
}

/** The same engine, whose programs leave what they computed in `outputs`: the trainer gives means over a run alone. */
function keepOutputs(engine: Compiler): Compiler {
  return {
    async compile(graph) {
      const program = await engine.compile(graph);
      return {
        async run(feeds) {
          outputs = await program.run(feeds);
          return { ...outputs };
        },
        release: () => program.release(),
      };
    },
  };
}
