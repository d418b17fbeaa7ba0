import { quantileSorted } from 'simple-statistics';
import type { Contender } from './contenders.js';
import { cellOf, GOAL_CONNECTIONS, type Outcome, type OwnMeasurements, rateOf } from './measurement.js';
import type { BodyKind } from './payloads.js';

export interface Results {
  readonly outcomes: ReadonlyMap<Contender, Outcome>;
  readonly own: OwnMeasurements;
  /** Items a second of the graph in loops without HTTP. */
  readonly bareLoop: number;
  /** Requests a second of one item as float32 to Node's HTTP server, which does nothing else. */
  readonly bareHttp: number;
}

export interface Goal {
  readonly text: string;
  /** What was measured. */
  readonly measured: string;
  /** Undefined where it could not be measured. */
  readonly met: boolean | undefined;
}

const TIMES_BEST_PEER = 3;
const SHARE_OF_BARE_LOOP = 0.6;
const TAIL = 3;
const SECONDS_TO_READY = 1.5;
const IDLE_MIB = 250;

export function goals({ outcomes, own, bareLoop }: Results): Goal[] {
  const [ours, ...peers] = [...outcomes];
  const beside = (['float32', 'JSON', 'PNG'] as const).map((kind) => besidePeers(kind, ours, peers));
  const bulk = rateOf(cellOf(ours[1], 'float32', 64));
  const share = bulk === undefined ? undefined : (bulk * 64) / bareLoop;
  const { seconds, idleBytes } = own.start;
  const idleMib = idleBytes / 2 ** 20;
  return [
    ...beside,
    {
      text: `float32 bodies of 64 items: at least ${SHARE_OF_BARE_LOOP * 100} % of the bare loop's items a second`,
      measured: share === undefined ? 'not measured' : `${(share * 100).toFixed(0)} %`,
      met: share === undefined ? undefined : share >= SHARE_OF_BARE_LOOP,
    },
    ...own.halfLoad.map(({ kind, result: { latencies } }): Goal => {
      const text = `p99 of ${kind} at half load: at most ${TAIL} × p50`;
      if (latencies.length === 0) return { text, measured: 'nothing was answered', met: undefined };
      const ratio = quantileSorted([...latencies], 0.99) / quantileSorted([...latencies], 0.5);
      return { text, measured: `${ratio.toFixed(1)} ×`, met: ratio <= TAIL };
    }),
    {
      text: `from the start of the process to ready with three models: at most ${SECONDS_TO_READY} s`,
      measured: `${seconds.toFixed(2)} s`,
      met: seconds <= SECONDS_TO_READY,
    },
    {
      text: `resident idle with three models: at most ${IDLE_MIB} MiB`,
      measured: `${idleMib.toFixed(0)} MiB`,
      met: idleMib <= IDLE_MIB,
    },
  ];
}

function besidePeers(kind: BodyKind, [, ours]: [Contender, Outcome], peers: readonly [Contender, Outcome][]): Goal {
  const rates = peers.flatMap(([{ label }, outcome]) => {
    const rate = rateOf(cellOf(outcome, kind, 1));
    return rate === undefined ? [] : [{ label, rate }];
  });
  const best = rates.sort((a, b) => b.rate - a.rate).at(0);
  const rate = rateOf(cellOf(ours, kind, 1));
  const text = `${kind}, one item a request, ${GOAL_CONNECTIONS} connections: at least ${TIMES_BEST_PEER} × the best peer's throughput`;
  if (best === undefined || rate === undefined) return { text, measured: 'not measured', met: undefined };
  const times = rate / best.rate;
  return { text, measured: `${times.toFixed(1)} × ${best.label}`, met: times >= TIMES_BEST_PEER };
}
