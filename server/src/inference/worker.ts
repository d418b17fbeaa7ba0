/** Entry point of an inference thread: holds the sessions of every loaded model and runs one request after another. */
import { getPriority, setPriority } from 'node:os';
import { type MessagePort, parentPort, type TransferListItem, workerData } from 'node:worker_threads';
import type { GraphRole } from '@elbo/models';
import { GraphSession, probeProvider } from './onnxruntime.js';
import type { WorkerMessage, WorkerOptions, WorkerReply, WorkerRequest, WorkerResults } from './protocol.js';
import { inputTensors } from './rows.js';

// On Linux niceness is a thread's own: inference gives way to the thread that answers HTTP, health checks among it.
if (process.platform === 'linux') setPriority(Math.min(19, getPriority() + 5));

const options = workerData as WorkerOptions;
const sessions = new Map<string, Record<GraphRole, GraphSession>>();

async function handle(request: WorkerRequest): Promise<WorkerResults[keyof WorkerResults]> {
  switch (request.kind) {
    case 'load':
      return load(request.model, request.graphs);
    case 'unload':
      return unload(request.model);
    case 'run': {
      const session = sessions.get(request.model)?.[request.role];
      if (session === undefined) throw new Error(`${request.model} is not loaded`);
      return session.run(inputTensors(request.inputs, request.data, request.rows), request.outputs);
    }
    case 'stop':
      for (const model of sessions.keys()) await unload(model);
      return undefined;
  }
}

async function load(model: string, graphs: Readonly<Record<GraphRole, Uint8Array>>): Promise<WorkerResults['load']> {
  const loaded: Partial<Record<GraphRole, GraphSession>> = {};
  const session = async (role: GraphRole): Promise<GraphSession> => {
    try {
      // ONNX Runtime doesn't read a shared buffer, so this thread makes its own copy.
      const opened = await GraphSession.load(new Uint8Array(graphs[role]), options);
      loaded[role] = opened;
      return opened;
    } catch (error) {
      throw new Error(`${role}.onnx: ${(error as Error).message.trim()}`, { cause: error });
    }
  };
  try {
    const all = {
      encoder: await session('encoder'),
      decoder: await session('decoder'),
      scorer: await session('scorer'),
    };
    sessions.set(model, all);
    return {
      encoder: all.encoder.description,
      decoder: all.decoder.description,
      scorer: all.scorer.description,
    };
  } catch (error) {
    for (const opened of Object.values(loaded)) await opened.release();
    throw error;
  }
}

async function unload(model: string): Promise<undefined> {
  const loaded = sessions.get(model);
  sessions.delete(model);
  for (const session of Object.values(loaded ?? {})) await session.release();
}

function reply(port: MessagePort, message: WorkerReply): void {
  const transfer = new Set<TransferListItem>();
  if (message.kind === 'result' && message.result !== undefined) {
    for (const value of Object.values(message.result)) {
      if ('data' in value) transfer.add(value.data.buffer as ArrayBuffer);
    }
  }
  port.postMessage(message, [...transfer]);
}

async function serve(port: MessagePort): Promise<void> {
  if (options.probe) {
    try {
      await probeProvider(options);
    } catch (error) {
      reply(port, { kind: 'unusable', reason: (error as Error).message.trim() });
      return;
    }
  }
  let last: Promise<unknown> = Promise.resolve();
  port.on('message', ({ id, request }: WorkerMessage) => {
    last = last
      .then(() => handle(request))
      .then(
        (result) => reply(port, { kind: 'result', id, result }),
        (error: Error) => reply(port, { kind: 'error', id, message: error.message.trim() }),
      )
      .then(() => {
        if (request.kind === 'stop') port.close();
      });
  });
  reply(port, { kind: 'ready' });
}

if (parentPort === null) throw new Error('worker.js is an entry point of worker threads');
await serve(parentPort);
