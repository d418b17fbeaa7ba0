import type { Engine } from './engine.js';
import { type Device, OnnxRuntimeEngine } from './onnxruntime.js';

/** Engines by the names that users know, the default first. */
export const ENGINES = ['onnxruntime'] as const;
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
  }
}
