import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Who trains, and how its process is started. */
export interface Contender {
  readonly name: string;
  readonly label: string;
  readonly command: readonly [program: string, ...args: string[]];
  /** Those of the workloads that it can do. */
  readonly workloads: readonly string[];
}

const contenderProcess = fileURLToPath(new URL('./elbo-contender.js', import.meta.url));
const peers = fileURLToPath(new URL('../../training/peers/', import.meta.url));
/** Each library has an environment of its own: TensorFlow imports JAX where it finds it. */
const python = (library: string) => `${peers}.venv/${library}/bin/python`;

const elbo = (engine: string): Contender['command'] => [process.execPath, contenderProcess, engine];
const peer = (library: string, variant?: string): Contender['command'] => [
  python(library),
  `${peers}peer.py`,
  library,
  ...(variant === undefined ? [] : [variant]),
];

const ALL = ['a', 'b', 'c'] as const;

/** Elbo first: the others are compared with it. */
export const CONTENDERS: readonly Contender[] = [
  { name: 'elbo', label: 'Elbo, ONNX Runtime', command: elbo('onnxruntime'), workloads: ALL },
  { name: 'torch', label: 'PyTorch', command: peer('torch'), workloads: ALL },
  { name: 'tensorflow', label: 'TensorFlow', command: peer('tensorflow'), workloads: ALL },
  { name: 'jax', label: 'JAX', command: peer('jax'), workloads: ALL },
  { name: 'tfjs-node', label: 'Elbo, tfjs-node', command: elbo('tfjs'), workloads: ALL },
  { name: 'tfjs-wasm', label: 'Elbo, tfjs WASM', command: elbo('tfjs-wasm'), workloads: ['a'] },
];

/** Why a contender cannot take part here, if so. */
export async function absence({ name, command: [program] }: Contender): Promise<string | undefined> {
  if (program.endsWith('python') && !existsSync(program)) return 'not installed: run bench/training/peers/setup.sh';
  if (name === 'tfjs-node') {
    const { loadTfjs } = await import('@elbo/training/engines/load-tfjs');
    const { backend, note } = await loadTfjs();
    if (!backend.startsWith('tfjs-node')) return `no native binding: ${note ?? 'run npm run setup:tfjs'}`;
  }
  return undefined;
}
