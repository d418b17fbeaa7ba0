#!/usr/bin/env node
// Loads tfjs as Elbo does and holds a matrix product and the gradients of a convolution against plain loops.
// Prints the backend and exits with 0 when it is the native one and right; else says why not and exits with 1.
// `npm run setup:tfjs` runs it in a process of its own, since a broken native library can take the process down.

import { loadTfjs } from '../dist/engines/load-tfjs.js';

const TOLERANCE = 1e-4;
const IMAGE = { batch: 2, size: 6, channels: 3 };
const KERNEL = { size: 4, stride: 2, channels: 5 };

/** Values that repeat from run to run, between -1 and 1. */
const wave = (length, frequency) => Float32Array.from({ length }, (_, i) => Math.sin(frequency * i + 1));

try {
  const { tf, backend, note } = await loadTfjs();
  if (note !== undefined) throw new Error(note);
  const wrong = [...checkProduct(tf), ...checkConvolution(tf)];
  if (wrong.length > 0) throw new Error(`${backend} computes wrong values: ${wrong.join(', ')}`);
  console.log(backend);
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

function checkProduct(tf) {
  const [m, k, n] = [5, 7, 3];
  const [a, b] = [wave(m * k, 0.7), wave(k * n, 1.3)];
  const expected = new Float32Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      for (let l = 0; l < k; l++) expected[i * n + j] += a[i * k + l] * b[l * n + j];
    }
  }
  return differences({ 'matrix product': [tf.matMul(tf.tensor2d(a, [m, k]), tf.tensor2d(b, [k, n])), expected] });
}

/** y = conv(x, w) without padding; the gradients of Σ y² are those of y weighted by 2y. */
function checkConvolution(tf) {
  const { batch, size, channels } = IMAGE;
  const x = wave(batch * size * size * channels, 0.9);
  const w = wave(KERNEL.size * KERNEL.size * channels * KERNEL.channels, 1.7);
  const expected = { x: new Float32Array(x.length), w: new Float32Array(w.length) };
  forEachOutput((taps) => {
    const y = taps.reduce((sum, [i, j]) => sum + x[i] * w[j], 0);
    for (const [i, j] of taps) {
      expected.x[i] += 2 * y * w[j];
      expected.w[j] += 2 * y * x[i];
    }
  });
  const [gradientX, gradientW] = tf.grads((x, w) => tf.sum(tf.square(tf.conv2d(x, w, KERNEL.stride, 'valid'))))([
    tf.tensor4d(x, [batch, size, size, channels]),
    tf.tensor4d(w, [KERNEL.size, KERNEL.size, channels, KERNEL.channels]),
  ]);
  return differences({
    "convolution's gradient by its input": [gradientX, expected.x],
    "convolution's gradient by its kernel": [gradientW, expected.w],
  });
}

/** Calls back with the pairs of indices (into the image, into the kernel) whose products sum up to one output. */
function forEachOutput(callback) {
  const { batch, size, channels } = IMAGE;
  const outputs = (size - KERNEL.size) / KERNEL.stride + 1;
  for (let index = 0; index < batch * outputs * outputs * KERNEL.channels; index++) {
    const output = index % KERNEL.channels;
    const column = Math.floor(index / KERNEL.channels) % outputs;
    const row = Math.floor(index / KERNEL.channels / outputs) % outputs;
    const image = Math.floor(index / KERNEL.channels / outputs / outputs);
    const taps = [];
    for (let tap = 0; tap < KERNEL.size * KERNEL.size * channels; tap++) {
      const channel = tap % channels;
      const dx = Math.floor(tap / channels) % KERNEL.size;
      const dy = Math.floor(tap / channels / KERNEL.size);
      const pixel = (image * size + row * KERNEL.stride + dy) * size + column * KERNEL.stride + dx;
      taps.push([pixel * channels + channel, tap * KERNEL.channels + output]);
    }
    callback(taps);
  }
}

/** The names of the results that are off by more than rounding. */
function differences(results) {
  return Object.entries(results)
    .filter(([, [actual, expected]]) => {
      const values = actual.dataSync();
      return !expected.every((value, i) => Math.abs(value - values[i]) <= TOLERANCE * (1 + Math.abs(value)));
    })
    .map(([name]) => name);
}
