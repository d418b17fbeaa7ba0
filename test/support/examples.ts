import type { Examples } from '@elbo/training/data/dataset';
import { openExamples } from '@elbo/training/data/example-reader';

/** All values of examples, in a fresh array outside shared memory. */
export async function valuesOf(examples: Examples): Promise<Uint8Array | Float32Array> {
  const reader = await openExamples(examples);
  try {
    return await reader.range(0, examples.count);
  } finally {
    await reader.close();
  }
}

/** All values of examples of bytes. */
export async function bytesOf(examples: Examples): Promise<Uint8Array> {
  const values = await valuesOf(examples);
  if (!(values instanceof Uint8Array)) throw new TypeError('the examples are not bytes');
  return values;
}
