import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { BareLoopJob } from './bare-loop.js';

const { graph, shape, rows, seconds } = workerData as BareLoopJob;
const port = parentPort;
if (port === null) throw new Error('bare-loop-thread.js is an entry point of worker threads');
const session = await InferenceSession.create(graph, {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
});
const size = shape.reduce((product, dimension) => product * dimension, 1);
const x = new Tensor('float32', new Float32Array(rows * size).fill(0.5), [rows, ...shape]);
const run = () => session.run({ x }, ['mean', 'log_variance']);
await run();
port.postMessage('ready');
await once(port, 'message');
const start = performance.now();
let runs = 0;
while (performance.now() - start < seconds * 1000) {
  await run();
  runs++;
}
port.postMessage((runs * rows * 1000) / (performance.now() - start));
await session.release();
