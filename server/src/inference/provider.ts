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
  if (cudaLibrary() !== undefined) return undefined;
  return 'the CUDA provider library is not installed (node server/scripts/install-cuda-provider.mjs installs it)';
}

/** Path of the CUDA provider library, where it is installed. */
function cudaLibrary(): string | undefined {
  const root = join(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')), '..', 'bin');
  return readdirSync(root)
    .map((api) => join(root, api, 'linux', 'x64', 'libonnxruntime_providers_cuda.so'))
    .find((path) => existsSync(path));
}

/** What an operator can act on of the text, with source lines of C++, that ONNX Runtime gives where a provider is unusable. */
export function unusableReason(provider: Provider, message: string): string {
  const missing = provider === 'cuda' ? libraryOfCudaMissing() : undefined;
  if (missing !== undefined) {
    const driver = missing.startsWith('libcuda.so')
      ? " (the NVIDIA driver's own: is there a driver, and was the container given the GPU?)"
      : '';
    return `${missing}${driver}`;
  }
  const [reason] = /CUDA failure \d+: [^;]+|Failed to get a WebGPU adapter: .+/.exec(message) ?? [message];
  return reason.trim();
}

/** Which library the CUDA provider misses, in the loader's words, which ONNX Runtime keeps to its log. */
function libraryOfCudaMissing(): string | undefined {
  try {
    process.dlopen({ exports: {} }, cudaLibrary() ?? '');
    return undefined;
  } catch (error) {
    // Where its libraries are found the provider still isn't an addon of Node's, which is another message.
    return /^lib\S+: cannot open shared object file.*/.exec((error as Error).message)?.[0];
  }
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
