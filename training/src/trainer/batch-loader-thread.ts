import { parentPort, workerData } from 'node:worker_threads';
import { openExamples } from '../data/example-reader.js';
import type { LoaderData, LoaderReply, LoaderRequest } from './batch-loader.js';
import { BatchSource } from './batches.js';

// The thread behind BatchLoader: reads and draws the inputs of the next steps while the steps before them train.

const { examples, plan } = workerData as LoaderData;
const reply = (message: LoaderReply, transfer: readonly ArrayBuffer[] = []) =>
  parentPort?.postMessage(message, transfer);

const opened = openExamples(examples).then((reader) => ({ reader, source: new BatchSource(reader, plan) }));
// Whoever asks first hears of it.
opened.catch(() => {});

parentPort?.on('message', async (request: LoaderRequest) => {
  try {
    const { reader, source } = await opened;
    if (request === 'close') {
      await reader.close();
      return;
    }
    const batches = await source.draw(request.step, request.steps);
    const arrays = [batches.examples, batches.thresholds, ...Object.values(batches.noise)];
    const buffers = arrays.flatMap((array) => (array === undefined ? [] : [array.buffer as ArrayBuffer]));
    reply({ batches }, buffers);
  } catch (error) {
    const failure = error instanceof Error ? error : new Error(String(error));
    if (request !== 'close') reply({ failure, kind: failure.name });
  } finally {
    if (request === 'close') parentPort?.close();
  }
});
