/** The messages between the main thread and an inference worker. */
import type { GraphRole } from '@elbo/models';
import type { GraphDescription, OutputTensor, SessionOptions } from './onnxruntime.js';
import type { GraphInput } from './rows.js';

export interface WorkerOptions extends SessionOptions {
  /** Probe the provider first: a worker that can't use it ends with the reason. */
  readonly probe: boolean;
}

/** `model` is the id of a `ServedModel`. */
export type WorkerRequest =
  | { readonly kind: 'load'; readonly model: string; readonly graphs: Readonly<Record<GraphRole, Uint8Array>> }
  | { readonly kind: 'unload'; readonly model: string }
  | {
      readonly kind: 'run';
      readonly model: string;
      readonly role: GraphRole;
      readonly inputs: readonly GraphInput[];
      /** Rows that hold one after another what each input takes. */
      readonly data: Float32Array;
      readonly rows: number;
      readonly outputs: readonly string[];
    }
  /** The thread releases its sessions and ends. */
  | { readonly kind: 'stop' };

export interface WorkerResults {
  readonly load: Readonly<Record<GraphRole, GraphDescription>>;
  readonly unload: undefined;
  readonly run: Readonly<Record<string, OutputTensor>>;
  readonly stop: undefined;
}

export type WorkerMessage = { readonly id: number; readonly request: WorkerRequest };

export type WorkerReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'unusable'; readonly reason: string }
  | { readonly kind: 'result'; readonly id: number; readonly result: WorkerResults[keyof WorkerResults] }
  | { readonly kind: 'error'; readonly id: number; readonly message: string };
