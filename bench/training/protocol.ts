import type { WorkloadData } from './workloads.js';

// What contenders, in whatever language, read and write: one JSON object a line. See peers/peer.py.

/** The first line that a contender reads. */
export interface Job {
  readonly workload: string;
  readonly threads: number;
  readonly seed: number;
  readonly batch_size: number;
  readonly total_steps: number;
  readonly learning_rate: number;
  readonly gradient_norm_limit: number;
  readonly latent_size: number;
  readonly data: WorkloadData;
}

export type Command =
  | { readonly do: 'train'; readonly steps: number }
  | { readonly do: 'evaluate' }
  /** Files of float32: all parameters one after the other, x [N, C, H, W], noise [N, latent size]. */
  | { readonly do: 'check'; readonly weights: string; readonly x: string; readonly noise: string }
  | { readonly do: 'quit' };

export interface Ready {
  readonly ready: true;
  readonly library: string;
  readonly variant: string;
}

/** One turn of training. */
export interface Turn {
  readonly steps: number;
  readonly ms: number;
  /** Processor time of all threads: shows how much of the time was waiting for a busy machine. */
  readonly cpu_ms: number;
  readonly loss: number;
  /** Of the process so far, in bytes. */
  readonly peak_rss: number;
}

export interface Evaluation {
  /** Nats an example of the validation part. */
  readonly negative_elbo: number;
  readonly peak_rss: number;
}

export interface Check {
  readonly loss: number;
  /** Before clipping. */
  readonly gradient_norm: number;
}
