import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { itemSize } from '@elbo/models';
import { itemFromImage } from '@elbo/server/codecs/image-input';
import autocannon from 'autocannon';
import { CONTENDERS, type Contender } from './contenders.js';
import { healthTimes } from './health.js';
import { ask, type LoadResult, load } from './load.js';
import { type BodyKind, difference, type Payload, TOLERANCE } from './payloads.js';
import { ServerProcess, versionsOf } from './server-process.js';

export interface Plan {
  readonly connections: readonly number[];
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** With the mnist model alone. */
  readonly store: string;
}

/** One load on one contender. */
export interface Cell {
  readonly kind: BodyKind;
  readonly items: number;
  readonly connections: number;
  readonly load: LoadResult;
  /** Of the server's processes, over the time that is counted. */
  readonly serverCpuSeconds: number;
}

export interface Measured {
  readonly versions: string;
  readonly secondsToReady: number;
  readonly idleBytes: number;
  readonly bytesAfter: number;
  /** The largest difference from the expected numbers. */
  readonly difference: number;
  readonly cells: readonly Cell[];
}

export type Outcome = Measured | { readonly failure: string };

/** Connections that goals are about. */
export const GOAL_CONNECTIONS = 64;

/** Checks a contender's answers, then puts every load on it. */
export async function measureContender(
  contender: Contender,
  payloads: readonly Payload[],
  plan: Plan,
  onProgress: (text: string) => void,
): Promise<Outcome> {
  onProgress(`${contender.label} starts`);
  try {
    const versions = versionsOf(contender);
    return await withServer(contender, plan.store, async (server) => {
      const idleBytes = server.usage.residentBytes;
      let worst = 0;
      for (const payload of payloads) worst = Math.max(worst, await checkAnswer(contender, server.origin, payload));
      const cells: Cell[] = [];
      for (const payload of payloads) {
        for (const connections of plan.connections) {
          onProgress(`${contender.label}: ${payload.kind}, ${payload.items} items, ${connections} connections`);
          cells.push(await measureCell(contender, server, payload, connections, plan));
        }
      }
      const bytesAfter = server.usage.residentBytes;
      return { versions, secondsToReady: server.secondsToReady, idleBytes, bytesAfter, difference: worst, cells };
    });
  } catch (error) {
    return { failure: (error as Error).message };
  }
}

export interface HealthRow {
  readonly load: string;
  /** Undefined without load. */
  readonly result: LoadResult | undefined;
  /** Milliseconds, ascending. */
  readonly health: Float64Array;
}

export interface HalfLoadRow {
  readonly kind: BodyKind;
  readonly rate: number;
  readonly result: LoadResult;
}

/** What is measured of Elbo alone. */
export interface OwnMeasurements {
  readonly health: readonly HealthRow[];
  readonly halfLoad: readonly HalfLoadRow[];
  /** Milliseconds of processor time that decoding one PNG takes the server's codec. */
  readonly decodeMs: number;
  /** Requests a second that another load generator gets of the float32 load. */
  readonly autocannonRate: number;
  readonly start: { readonly seconds: number; readonly idleBytes: number };
}

/** @param storeOfThree for the start and what it takes to hold three models */
export async function measureElbo(
  payloads: readonly Payload[],
  measured: Measured,
  plan: Plan,
  storeOfThree: string,
  onProgress: (text: string) => void,
): Promise<OwnMeasurements> {
  const [elbo] = CONTENDERS;
  const singles = payloads.filter(({ items }) => items === 1);
  return withServer(elbo, plan.store, async ({ origin }) => {
    const times = { seconds: plan.seconds, warmUpSeconds: plan.warmUpSeconds };
    const under = { ...times, connections: GOAL_CONNECTIONS };
    onProgress('health without load');
    const health: HealthRow[] = [{ load: 'none', result: undefined, health: await healthTimes(origin, plan.seconds) }];
    for (const payload of singles) {
      onProgress(`health beside ${payload.kind}`);
      const [result, beside] = await Promise.all([
        load(origin, elbo.request(payload), under),
        healthTimes(origin, plan.seconds + plan.warmUpSeconds),
      ]);
      health.push({ load: payload.kind, result, health: beside });
    }
    const halfLoad: HalfLoadRow[] = [];
    for (const payload of singles) {
      const capacity = rateOf(cellOf(measured, payload.kind, 1));
      if (capacity === undefined || capacity === 0) continue;
      onProgress(`half load of ${payload.kind}`);
      const rate = capacity / 2;
      halfLoad.push({
        kind: payload.kind,
        rate,
        result: await load(origin, elbo.request(payload), { ...under, rate }),
      });
    }
    onProgress('autocannon');
    const [float32] = singles;
    const { path, headers, body } = elbo.request(float32);
    const { requests } = await autocannon({
      url: `${origin}${path}`,
      method: 'POST',
      headers: { ...headers },
      body,
      connections: GOAL_CONNECTIONS,
      duration: Math.max(1, plan.seconds),
    });
    onProgress('decoding of PNG, start with three models');
    return {
      health,
      halfLoad,
      decodeMs: await decodeMs(payloads.find(({ kind }) => kind === 'PNG') ?? float32),
      autocannonRate: requests.average,
      start: await startOf(elbo, storeOfThree),
    };
  });
}

/** The cell with as many connections as goals are about. */
export function cellOf(outcome: Outcome | undefined, kind: BodyKind, items: number): Cell | undefined {
  if (outcome === undefined || 'failure' in outcome) return undefined;
  return outcome.cells.find(
    (cell) => cell.kind === kind && cell.items === items && cell.connections === GOAL_CONNECTIONS,
  );
}

/** Right answers a second; undefined where nothing was measured. */
export function rateOf(cell: Cell | undefined): number | undefined {
  return cell && cell.load.answered / cell.load.seconds;
}

async function withServer<Result>(
  contender: Contender,
  store: string,
  use: (server: ServerProcess) => Promise<Result>,
): Promise<Result> {
  const server = await ServerProcess.start(contender, { store, workers: availableParallelism() });
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}

async function checkAnswer(contender: Contender, origin: string, payload: Payload): Promise<number> {
  const what = `${payload.kind}, ${payload.items} items`;
  const { status, body } = await ask(origin, contender.request(payload));
  if (status !== 200) throw new Error(`${what}: answers ${status} ${body.toString().slice(0, 300)}`);
  const worst = difference(payload, contender.answer(payload, body));
  if (!(worst <= TOLERANCE)) throw new Error(`${what}: differs by ${worst} from what the graph gives`);
  return worst;
}

async function measureCell(
  contender: Contender,
  server: ServerProcess,
  payload: Payload,
  connections: number,
  { seconds, warmUpSeconds }: Plan,
): Promise<Cell> {
  let before = 0;
  let after = 0;
  const result = await load(server.origin, contender.request(payload), {
    connections,
    seconds,
    warmUpSeconds,
    onStart: () => {
      before = server.usage.cpuSeconds;
    },
    onEnd: () => {
      after = server.usage.cpuSeconds;
    },
  });
  const { kind, items } = payload;
  return { kind, items, connections, load: result, serverCpuSeconds: after - before };
}

async function decodeMs({ png, input }: Payload): Promise<number> {
  const target = new Float32Array(itemSize(input));
  const decode = (count: number) =>
    Promise.all(Array.from({ length: count }, () => itemFromImage(png, 'body', input, target)));
  await decode(200);
  const before = process.cpuUsage();
  const count = 3000;
  await decode(count);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / count;
}

async function startOf(elbo: Contender, store: string): Promise<{ seconds: number; idleBytes: number }> {
  return withServer(elbo, store, async ({ secondsToReady, usage }) => ({
    seconds: secondsToReady,
    idleBytes: usage.residentBytes,
  }));
}

/** Where the trained models of this repository are. */
export const MODELS = fileURLToPath(new URL('../../../models/', import.meta.url));
