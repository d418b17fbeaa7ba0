import type { Engine } from './engine.js';
import { EngineError } from './engine-error.js';
import { type Device, OnnxRuntimeEngine } from './onnxruntime.js';
import { TfjsEngine } from './tfjs.js';

/** Engines by the names that users know, the default first. */
export const ENGINES = ['onnxruntime', 'tfjs'] as const;
export type EngineName = (typeof ENGINES)[number];

export interface EngineRequest {
  readonly engine: EngineName;
  readonly device: Device;
  readonly threads: number;
}

/** @throws {EngineError} where this machine does not have the engine, or the engine not the device */
export async function createEngine({ engine, device, threads }: EngineRequest): Promise<Engine> {
  switch (engine) {
    case 'onnxruntime':
      return new OnnxRuntimeEngine(threads, device);
    case 'tfjs':
      if (device !== 'cpu') throw new EngineError(`device ${device} cannot be used: engine tfjs runs on the cpu alone`);
      // TensorFlow reads it when it is loaded.
      process.env.TF_NUM_INTRAOP_THREADS ??= String(threads);
      return TfjsEngine.create();
  }
}
