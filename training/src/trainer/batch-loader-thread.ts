import { parentPort, workerData } from 'node:worker_threads';
import { openExamples } from '../data/example-reader.js';
import { buffersOf, type LoaderData, type LoaderReply, type LoaderRequest } from './batch-loader.js';
import { type Batches, BatchSource } from './batches.js';

// The thread behind BatchLoader: reads and draws the inputs of the next steps while the steps before them train.

const { examples, plan } = workerData as LoaderData;
const reply = (message: LoaderReply, transfer: readonly ArrayBuffer[] = []) =>
  parentPort?.postMessage(message, transfer);

const opened = openExamples(examples).then((reader) => ({
  reader,
  source: new BatchSource(reader, plan, examples.labels),
}));
// Whoever asks first hears of it.
opened.catch(() => {});

let spent: Batches | undefined;

parentPort?.on('message', async (request: LoaderRequest) => {
  if (request !== 'close' && 'spent' in request) {
    spent = request.spent;
    return;
  }
  try {
    const { reader, source } = await opened;
    if (request === 'close') {
      await reader.close();
      return;
    }
    const reused = spent;
    spent = undefined;
    const batches = await source.draw(request.step, request.steps, reused);
    reply({ batches }, buffersOf(batches));
  } catch (error) {
    const failure = error instanceof Error ? error : new Error(String(error));
    if (request !== 'close') reply({ failure, kind: failure.name });
  } finally {
    if (request === 'close') parentPort?.close();
  }
});
