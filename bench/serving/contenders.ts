import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HttpRequest } from './load.js';
import type { BodyKind, Encoding, Payload } from './payloads.js';

/** What a server is started with. */
export interface Settings {
  readonly port: number;
  /** Processes or threads that run the model: as many as there are cores. */
  readonly workers: number;
  /** The model store; peers read the encoder of its mnist model. */
  readonly store: string;
}

/** A server that answers `encode`. */
export interface Contender {
  readonly name: string;
  readonly label: string;
  /** The Python packages whose versions a report names. */
  readonly packages: readonly string[];
  /** Answers 200 once requests can be sent. */
  readonly readyPath: string;
  command(settings: Settings): {
    readonly command: readonly [program: string, ...args: string[]];
    readonly directory?: string;
    readonly environment: Readonly<Record<string, string>>;
  };
  request(payload: Payload): HttpRequest;
  answer(payload: Payload, body: Buffer): Encoding;
}

const FLOAT32_TYPE = 'application/octet-stream';
const TYPES: Record<BodyKind, string> = { float32: FLOAT32_TYPE, JSON: 'application/json', PNG: 'image/png' };

const peers = fileURLToPath(new URL('../../serving/peers/', import.meta.url));
/** One a peer: they ask for different versions of the same packages. */
const environments = process.env.ELBO_BENCH_PEERS ?? join(peers, '.venv');

const elbo: Contender = {
  name: 'elbo',
  label: 'Elbo',
  packages: [],
  readyPath: '/health/ready',
  command: ({ port, store }) => ({
    command: [process.execPath, fileURLToPath(new URL('../../../server/dist/main.js', import.meta.url))],
    environment: { ELBO_HOST: '127.0.0.1', ELBO_PORT: String(port), ELBO_MODELS_DIR: store },
  }),
  request: (payload) => bodyRequest('/encode', payload),
  answer: readAnswer,
};

const fastapi = peer({
  name: 'fastapi',
  label: 'FastAPI',
  packages: ['fastapi', 'uvicorn', 'onnxruntime'],
  readyPath: '/health',
  run: ({ port, workers }) => [
    'uvicorn',
    'fastapi_peer:app',
    ...['--host', '127.0.0.1', '--port', String(port), '--workers', String(workers)],
    ...['--no-access-log', '--log-level', 'warning', '--backlog', '2048'],
  ],
  request: (payload) => bodyRequest('/encode', payload),
});

const litserve = peer({
  name: 'litserve',
  label: 'LitServe',
  packages: ['litserve', 'onnxruntime'],
  readyPath: '/health',
  run: () => ['python', 'litserve_peer.py'],
  request: (payload) => bodyRequest(`/encode/${payload.kind.toLowerCase()}`, payload),
});

const bentoml = peer({
  name: 'bentoml',
  label: 'BentoML',
  packages: ['bentoml', 'onnxruntime'],
  readyPath: '/readyz',
  run: ({ port }) => ['bentoml', 'serve', 'bentoml_peer:Service', '--host', '127.0.0.1', '--port', String(port)],
  request: (payload) => bodyRequest(payload.kind === 'JSON' ? '/encode/json' : '/encode/body', payload),
  answer: (payload, body) => {
    if (payload.kind !== 'JSON') return readAnswer(payload, body);
    const rows = JSON.parse(body.toString()) as [mean: number[], logVariance: number[]][];
    return { mean: rows.flatMap(([mean]) => mean), logVariance: rows.flatMap(([, logVariance]) => logVariance) };
  },
});

const mosec = peer({
  name: 'mosec',
  label: 'Mosec',
  packages: ['mosec', 'onnxruntime'],
  readyPath: '/',
  run: ({ port }) => [
    'python',
    'mosec_peer.py',
    '--address',
    '127.0.0.1',
    '--port',
    String(port),
    '--log-level',
    'error',
  ],
  request: (payload) => bodyRequest(`/encode/${payload.kind.toLowerCase()}`, payload),
});

const mlserver = peer({
  name: 'mlserver',
  label: 'MLServer',
  packages: ['mlserver', 'onnxruntime'],
  readyPath: '/v2/models/mnist/ready',
  run: () => ['mlserver', 'start', 'mlserver_models'],
  request: (payload) => {
    const body = Buffer.from(JSON.stringify({ inputs: [inferenceInput(payload)] }));
    return { path: '/v2/models/mnist/infer', headers: { 'content-type': TYPES.JSON }, body };
  },
  answer: (_payload, body) => {
    const { outputs } = JSON.parse(body.toString()) as { outputs: { name: string; data: number[] }[] };
    const data = (name: string) => outputs.find((output) => output.name === name)?.data ?? [];
    return { mean: data('mean'), logVariance: data('log_variance') };
  },
});

/** Elbo first: the others are compared with it. */
export const CONTENDERS: readonly Contender[] = [elbo, fastapi, litserve, bentoml, mosec, mlserver];

/** The Python of a peer; undefined for Elbo. */
export function pythonOf({ name }: Contender): string | undefined {
  return name === 'elbo' ? undefined : join(environments, name, 'bin', 'python');
}

/** Why a contender cannot take part here, if so. */
export function absence(contender: Contender): string | undefined {
  const python = pythonOf(contender);
  if (python === undefined || existsSync(python)) return undefined;
  return 'not installed: bench/serving/peers/setup.sh installs it, or says why it cannot';
}

interface Peer extends Pick<Contender, 'name' | 'label' | 'packages' | 'readyPath' | 'request'> {
  /** A program of the peer's environment and its arguments. */
  readonly run: (settings: Settings) => readonly [program: string, ...args: string[]];
  readonly answer?: Contender['answer'];
}

function peer({ run, answer = readAnswer, ...contender }: Peer): Contender {
  const programs = join(environments, contender.name, 'bin');
  return {
    ...contender,
    answer,
    command: (settings) => {
      const [program, ...args] = run(settings);
      return {
        command: [join(programs, program), ...args],
        directory: peers,
        environment: {
          PATH: `${programs}${delimiter}${process.env.PATH ?? dirname(process.execPath)}`,
          ENCODER: join(settings.store, 'mnist', '1', 'encoder.onnx'),
          PORT: String(settings.port),
          WORKERS: String(settings.workers),
          PEERS: peers,
          PYTHONDONTWRITEBYTECODE: '1',
          OMP_NUM_THREADS: '1',
          // What is measured here stays here.
          BENTOML_DO_NOT_TRACK: 'True',
          MLSERVER_HOST: '127.0.0.1',
          MLSERVER_HTTP_PORT: String(settings.port),
          MLSERVER_GRPC_PORT: '0',
          MLSERVER_PARALLEL_WORKERS: String(settings.workers),
        },
      };
    },
  };
}

function bodyRequest(path: string, payload: Payload): HttpRequest {
  const { kind } = payload;
  return {
    path,
    headers: { 'content-type': TYPES[kind], accept: kind === 'float32' ? FLOAT32_TYPE : TYPES.JSON },
    body: bodyOf(payload),
  };
}

function bodyOf({ kind, items, values, png }: Payload): Buffer {
  if (kind === 'PNG') return png;
  if (kind === 'float32') return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const size = values.length / items;
  const inputs = Array.from({ length: items }, (_, i) => [...values.subarray(i * size, (i + 1) * size)]);
  return Buffer.from(JSON.stringify({ inputs }));
}

/** Float32 is answered with float32 [N, 2, Z], everything else with JSON. */
function readAnswer({ kind, items }: Payload, body: Buffer): Encoding {
  if (kind === 'float32') {
    const numbers = new Float32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength));
    const size = numbers.length / items / 2;
    const part = (offset: number) =>
      Array.from({ length: items * size }, (_, i) => numbers[Math.floor(i / size) * 2 * size + offset + (i % size)]);
    return { mean: part(0), logVariance: part(size) };
  }
  const { mean, log_variance } = JSON.parse(body.toString()) as { mean: number[][]; log_variance: number[][] };
  return { mean: mean.flat(), logVariance: log_variance.flat() };
}

/** The input of an inference request of the Open Inference Protocol: numbers as JSON, or the bytes as base64. */
function inferenceInput(payload: Payload): object {
  const { kind, items, values, input } = payload;
  if (kind === 'JSON') return { name: 'x', datatype: 'FP32', shape: [items, ...input.shape], data: [...values] };
  const parameters = { content_type: 'base64' };
  return {
    name: kind.toLowerCase(),
    datatype: 'BYTES',
    shape: [items],
    parameters,
    data: cut(bodyOf(payload), items).map((bytes) => bytes.toString('base64')),
  };
}

function cut(bytes: Buffer, parts: number): Buffer[] {
  const size = bytes.length / parts;
  return Array.from({ length: parts }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}
