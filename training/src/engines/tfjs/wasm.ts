import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import { EngineError } from '../engine-error.js';
import type { Tf } from './values.js';

/** How matrix products are differentiated: by tfjs's own rule, or by one rewritten for the fast kernel. */
export type ProductGradient = 'own' | 'rewritten';

/**
 * Loads tfjs with its WASM backend, SIMD on. There are no threads: tfjs turns them off in Node (tensorflow/tfjs issue
 * 3830), and its worker, a blob: URL, does not start there.
 * @throws {EngineError} where the backend is not installed or does not start
 */
export async function loadWasmTfjs(): Promise<Tf> {
  const { default: tf } = await import('@tensorflow/tfjs');
  tf.enableProdMode();
  try {
    const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
    const library = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(dirname(library) + sep);
  } catch (error) {
    throw new EngineError('the WASM backend of tfjs is not installed: npm install @tensorflow/tfjs-backend-wasm', {
      cause: error,
    });
  }
  if (!(await tf.setBackend('wasm'))) throw new EngineError('the WASM backend of tfjs does not start');
  return tf;
}

/**
 * tfjs differentiates a matrix product by products with a transposed operand, for which its WASM backend has a plain
 * loop nest; only a product without transposition goes to XNNPACK, nine times as fast. So this rule transposes first,
 * always the smaller operand. It holds for the whole process.
 */
export function rewriteProductGradient(tf: Tf): void {
  tf.unregisterGradient('BatchMatMul');
  tf.registerGradient({
    kernelName: 'BatchMatMul',
    inputsToSave: ['a', 'b'],
    gradFunc(dy, [a, b], attributes) {
      const { transposeA, transposeB } = attributes as unknown as { transposeA: boolean; transposeB: boolean };
      if (Array.isArray(dy)) throw new Error('a matrix product has one gradient');
      const turned = (x: TfTensor) => tf.transpose(x, [...x.shape.keys()].slice(0, -2).concat(x.rank - 1, x.rank - 2));
      const [left, right] = [transposeA ? turned(a) : a, transposeB ? turned(b) : b];
      return {
        a: () => {
          const slope = tf.matMul(right, turned(dy));
          return transposeA ? slope : turned(slope);
        },
        b: () => {
          const slope = tf.matMul(turned(left), dy);
          return transposeB ? turned(slope) : slope;
        },
      };
    },
  });
}
