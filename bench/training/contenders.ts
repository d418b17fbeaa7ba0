import type { Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import type { StepMetric } from '@elbo/training/trainer/training-graph';
import { createTfjsEngine } from './tfjs-engine.js';
import type { Workload } from './workload.js';

/** Who takes turns, Elbo first, and how each is called in the results. */
export const CONTENDERS = {
  elbo: 'Elbo, ONNX Runtime',
  tfjs: 'tfjs WASM, its own gradients',
  'tfjs-rewritten': 'tfjs WASM, gradients rewritten for its fast kernels',
} as const;
export type Contender = keyof typeof CONTENDERS;

/** What a contender's process says once it can train. */
export interface Ready {
  readonly data: string;
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
}

/** One run of training steps. */
export interface Turn {
  readonly steps: number;
  readonly milliseconds: number;
  /** Processor time of all threads: shows how much of the time was waiting for a busy machine. */
  readonly cpuMilliseconds: number;
  /** Of every step. */
  readonly metrics: Readonly<Record<StepMetric, readonly number[]>>;
  /** Of the process so far, in bytes. */
  readonly peakMemory: number;
}

/** What a trainer needs of an engine. */
export type Compiler = Pick<Engine, 'compile'>;

export function createEngine(contender: Contender, { model, configuration }: Workload): Promise<Compiler> {
  switch (contender) {
    case 'elbo':
      return Promise.resolve(new OnnxRuntimeEngine());
    case 'tfjs':
      return createTfjsEngine('own', model, configuration);
    case 'tfjs-rewritten':
      return createTfjsEngine('rewritten', model, configuration);
  }
}
