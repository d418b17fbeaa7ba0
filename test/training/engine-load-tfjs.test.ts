import { execFile } from 'node:child_process';
import util, { promisify } from 'node:util';
import { loadTfjs } from '@elbo/training/engines/load-tfjs';
import { restoreRemovedUtilities } from '@elbo/training/engines/tfjs-node-compatibility';
import type * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';

const LOADER = import.meta.resolve('@elbo/training/engines/load-tfjs');
const PLAIN = 'tfjs, plain JavaScript';

/** Hides tfjs-node's binding, as after an `npm ci` that ran no install scripts. */
const HIDE_BINDING = `
  import fs from 'node:fs';
  const { existsSync } = fs;
  fs.existsSync = (path) => !String(path).endsWith('tfjs_binding.node') && existsSync(path);`;
/** Lets the binding seem to be there and fail to load, as where its libtensorflow is gone. */
const BREAK_BINDING = `
  import fs from 'node:fs';
  const { existsSync } = fs;
  fs.existsSync = (path) => String(path).endsWith('tfjs_binding.node') || existsSync(path);
  process.dlopen = () => { throw new Error('libtensorflow.so.2: cannot open shared object file'); };`;
/** What Node 23 did. */
const REMOVE_UTILITIES = `
  import util from 'node:util';
  delete util.isArray;
  delete util.isNullOrUndefined;`;

/** Loads tfjs in a process of its own, after a prelude, and computes d(x²)/dx at 3 and the two largest of three. */
async function loadAfter(prelude: string): Promise<{ stdout: unknown; stderr: string }> {
  const program = `
    const { loadTfjs } = await import(${JSON.stringify(LOADER)});
    const { tf, backend, note } = await loadTfjs();
    const [slope] = tf.grad((x) => tf.square(x))(tf.tensor1d([3])).dataSync();
    const largest = [...tf.topk(tf.tensor1d([1, 3, 2]), 2).values.dataSync()];
    console.log(JSON.stringify({ backend, note, slope, largest }));`;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    '--input-type=module',
    '--eval',
    `${prelude}\n${program}`,
  ]);
  return { stdout: JSON.parse(stdout), stderr };
}

const loaded = await loadTfjs();
const native = loaded.note === undefined;

describe('loading tfjs', () => {
  it('loads once, and names the native backend or why it is another', async () => {
    expect(await loadTfjs()).toBe(loaded);
    if (native) expect(loaded.backend).toMatch(/^tfjs-node \(TensorFlow \d+\.\d+\.\d+\)$/);
    else expect(loaded).toMatchObject({ backend: PLAIN, note: expect.stringMatching(/^[^\n]+$/) });
    expect(loaded.tf.getBackend()).toBe(native ? 'tensorflow' : 'cpu');
  });

  it('prints nothing, and works without the functions that Node 23 removed', async () => {
    const { backend, note } = loaded;
    const expected = { backend, slope: 6, largest: [3, 2], ...(note === undefined ? {} : { note }) };
    expect(await loadAfter(REMOVE_UTILITIES)).toEqual({ stdout: expected, stderr: '' });
  });

  it('falls back to plain JavaScript where the binding is missing, and says how to get it', async () => {
    const note = "tfjs-node's native binding is not installed; `npm run setup:tfjs` installs it";
    const stdout = { backend: PLAIN, note, slope: 6, largest: [3, 2] };
    expect(await loadAfter(HIDE_BINDING)).toEqual({ stdout, stderr: '' });
  });

  it('falls back to plain JavaScript where the binding does not load, and says why', async () => {
    const { stdout, stderr } = await loadAfter(BREAK_BINDING);
    expect(stdout).toMatchObject({
      backend: PLAIN,
      slope: 6,
      note: expect.stringMatching(/^tfjs-node does not load: .+$/),
    });
    expect(stderr).toBe('');
  });

  it.skipIf(!native)(
    `computes on TensorFlow as in plain JavaScript${native ? '' : ` (skipped: ${loaded.note})`}`,
    async () => {
      const { tf } = loaded;
      const gradients = async (backend: string) => {
        await tf.setBackend(backend);
        return tf.tidy(() => {
          const image = tf.sin(tf.range(0, 2 * 7 * 7 * 3)).reshape<tf.Tensor4D>([2, 7, 7, 3]);
          const kernel = tf.cos(tf.range(0, 4 * 4 * 3 * 5)).reshape<tf.Tensor4D>([4, 4, 3, 5]);
          const loss = (x: tf.Tensor, w: tf.Tensor) =>
            tf.sum(tf.square(tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 2, 'same')));
          return tf
            .grads(loss)([image, kernel])
            .map((gradient) => [...gradient.dataSync()]);
        });
      };
      const [plain, onTensorflow] = [await gradients('cpu'), await gradients('tensorflow')];
      expect(onTensorflow.map((gradient) => gradient.length)).toEqual([294, 240]);
      const expected = plain.flat();
      const errors = onTensorflow.flat().map((value, i) => {
        const reference = expected[i] ?? Number.NaN;
        return Math.abs(value - reference) / (1 + Math.abs(reference));
      });
      expect(Math.max(...errors)).toBeLessThan(1e-4);
    },
  );
});

describe('the functions that Node removed from util', () => {
  it('are restored with their meaning', () => {
    restoreRemovedUtilities();
    const restored = ['isArray', 'isNullOrUndefined'].map((name) => Reflect.get(util, name));
    const answers = [null, undefined, 0, '', [], {}].map((value) => restored.map((predicate) => predicate(value)));
    expect(answers).toEqual([
      [false, true],
      [false, true],
      [false, false],
      [false, false],
      [true, false],
      [false, false],
    ]);
  });
});
