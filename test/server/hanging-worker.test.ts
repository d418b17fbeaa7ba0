import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GRAPH_FILES, type InputDescription } from '@elbo/models';
import { runError } from '@elbo/server/inference/worker-thread';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { add, cast, concat, loop, mul, reduceMax, sin } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fixtureModel, writeFixture } from './support/fixture-models.js';
import { type RunningService, startService } from './support/running-service.js';

const RUN_TIMEOUT_MS = 500;
/** Turns of a loop, of about a microsecond each, that z = 1 asks for. */
const TURNS = 5_000_000;

let directory: string;
let running: RunningService;

/** x_mean is 0, after as many turns of a loop as z says. */
function slowDecoder(): Uint8Array {
  const graph = new Graph('decoder');
  const z = graph.input('z', 'float32', ['N', 4]);
  const largest = reduceMax(z, [0, 1], false);
  const turns = cast(mul(largest, TURNS), 'int64');
  const start = graph.constant(float32([0], []));
  const { states } = loop(turns, [start], 'turns', (_, [state]) => ({
    states: state === undefined ? [] : [sin(add(state, 1))],
    collected: [],
  }));
  const [state] = states;
  if (state === undefined) throw new Error('a loop gives its state');
  const wide = concat([z, z], 1);
  graph.output(add(mul(wide, 0), mul(state, 0)), 'x_mean');
  return encodeModel(graph);
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elbo-store-'));
  const input: InputDescription = { kind: 'vector', shape: [8], value_range: [-10, 10] };
  const model = fixtureModel({ name: 'slow', input });
  await writeFixture(directory, { ...model, files: new Map([...model.files, [GRAPH_FILES.decoder, slowDecoder()]]) });
  await writeFixture(directory, fixtureModel({ name: 'quick', input }));
  running = await startService(directory, { runTimeout: RUN_TIMEOUT_MS });
});
afterAll(async () => {
  await running.close();
  await rm(directory, { recursive: true, force: true });
});

const decode = (model: string, value: number) =>
  request(running.url)
    .post(`/decode?model=${model}`)
    .send({ latents: [Array(4).fill(value)] });

describe('a worker that hangs in native code', () => {
  it('is given up: its request is answered with 503, another takes its place, the process lives', async () => {
    expect((await decode('slow', 0)).status).toBe(200);
    const hung = await decode('slow', 1);
    expect(hung.status).toBe(503);
    expect(hung.body).toMatchObject({
      code: 'WORKER_LOST',
      detail: expect.stringContaining(`it did not answer within ${RUN_TIMEOUT_MS} ms`),
    });
    expect((await decode('quick', 0)).status).toBe(200);
    await vi.waitFor(
      () => expect(running.service.status).toMatchObject({ workersAlive: 2, notReady: undefined }),
      20_000,
    );
    expect((await decode('slow', 0)).status).toBe(200);
  });
});

describe('a failed run', () => {
  it('is told apart where the device is full', () => {
    expect(runError('CUDA failure 2: out of memory ; GPU=0').code).toBe('OUT_OF_MEMORY');
    expect(runError('BFCArena: Failed to allocate memory for requested buffer of size 4').code).toBe('OUT_OF_MEMORY');
    expect(runError('Non-zero status code returned while running Gemm node').code).toBe('RUN_FAILED');
  });
});
