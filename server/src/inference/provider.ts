import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** ONNX Runtime execution providers that a session can be asked for. */
export type Provider = 'cpu' | 'cuda' | 'webgpu';

/** What the operator may ask for; `auto` is CUDA where its library is installed and loads, else the CPU. */
export const PROVIDERS = ['auto', 'cpu', 'cuda', 'webgpu'] as const;
export type ProviderChoice = (typeof PROVIDERS)[number];

/** Providers to try, in this order; the last one's failure stops the start. */
export function providersToTry(choice: ProviderChoice): readonly Provider[] {
  if (choice === 'auto') return cudaLibraryMissing() === undefined ? ['cuda', 'cpu'] : ['cpu'];
  return [choice];
}

/**
 * Why ONNX Runtime can't load CUDA here, found without trying (a try writes to stderr from native code);
 * undefined where the provider library is installed.
 */
export function cudaLibraryMissing(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `onnxruntime-node has CUDA for linux/x64 only, this is ${process.platform}/${process.arch}`;
  }
  const root = join(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')), '..', 'bin');
  const installed = readdirSync(root).some((api) =>
    existsSync(join(root, api, 'linux', 'x64', 'libonnxruntime_providers_cuda.so')),
  );
  if (installed) return undefined;
  return 'the CUDA provider library is not installed (ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js installs it)';
}

/**
 * Rows that a batch is filled up to. On the CPU, ONNX Runtime's element-wise kernels treat the last length mod 4 numbers
 * of a tensor in scalar code that rounds otherwise than the vector code, so with whole multiples of 4 a row's result
 * doesn't depend on its batch mates. On a GPU each new batch size costs a search for algorithms: powers of two are few.
 */
export function paddedRows(provider: Provider, rows: number): number {
  return provider === 'cpu' ? Math.ceil(rows / 4) * 4 : 2 ** Math.ceil(Math.log2(rows));
}

/** Every batch size up to `maxBatch` that must have run once before requests do. */
export function warmUpRows(provider: Provider, maxBatch: number): number[] {
  if (provider === 'cpu') return [...new Set([paddedRows('cpu', 1), paddedRows('cpu', maxBatch)])];
  const sizes = [];
  for (let rows = 1; rows < maxBatch; rows *= 2) sizes.push(rows);
  return [...sizes, paddedRows(provider, maxBatch)];
}
