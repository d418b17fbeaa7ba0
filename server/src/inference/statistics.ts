import type { GraphRole } from '@elbo/models';
import type { ServedModel } from './model.js';
import type { ServiceObserver } from './service.js';

/** How often something happened, and how long that took in all. */
export interface DurationStatistic {
  readonly count: number;
  readonly ns: number;
}

/** What happened to one graph of one model version since the service started. */
export interface GraphStatistics {
  /** Milliseconds since the epoch; 0 where there was none. */
  readonly lastInference: number;
  /** Items of requests that were answered. */
  readonly inferences: number;
  /** Batches that were run, whichever route their items came from. */
  readonly executions: number;
  readonly success: DurationStatistic;
  readonly fail: DurationStatistic;
  /** Time that requests waited for a worker. */
  readonly queue: DurationStatistic;
  /** Time that batches took on a worker. */
  readonly compute: DurationStatistic;
}

/** Which graph something is said of; a `ModelCall` is one. */
export interface GraphKey {
  /** Id of a served model. */
  readonly model: string;
  readonly role: GraphRole;
}

interface Counters {
  lastInference: number;
  inferences: number;
  executions: number;
  readonly success: Duration;
  readonly fail: Duration;
  readonly queue: Duration;
  readonly compute: Duration;
}

class Duration implements DurationStatistic {
  count = 0;
  ns = 0;

  add(ns: number): void {
    this.count++;
    this.ns += ns;
  }
}

/** Counts what happens to the graphs: its owner tells it of requests, the service of batches. */
export class InferenceStatistics implements ServiceObserver {
  readonly #graphs = new Map<string, Counters>();

  /** A request was answered, `ns` nanoseconds after it came. */
  succeeded(graph: GraphKey, items: number, ns: number): void {
    const counters = this.#of(graph);
    counters.lastInference = Date.now();
    counters.inferences += items;
    counters.success.add(ns);
  }

  /** A request was refused, failed, or its client went away. */
  failed(graph: GraphKey, ns: number): void {
    const counters = this.#of(graph);
    counters.lastInference = Date.now();
    counters.fail.add(ns);
  }

  waited(call: GraphKey, milliseconds: number): void {
    this.#of(call).queue.add(Math.round(milliseconds * 1e6));
  }

  ran(call: GraphKey, _rows: number, _requests: number, milliseconds: number): void {
    const counters = this.#of(call);
    counters.executions++;
    counters.compute.add(Math.round(milliseconds * 1e6));
  }

  unloaded({ id }: ServedModel): void {
    for (const key of this.#graphs.keys()) if (key.startsWith(`${id} `)) this.#graphs.delete(key);
  }

  /** A copy of the counters. */
  read(graph: GraphKey): GraphStatistics {
    const { success, fail, queue, compute, ...counts } = this.#graphs.get(keyOf(graph)) ?? emptyCounters();
    return { ...counts, success: { ...success }, fail: { ...fail }, queue: { ...queue }, compute: { ...compute } };
  }

  #of(graph: GraphKey): Counters {
    const key = keyOf(graph);
    const counters = this.#graphs.get(key) ?? emptyCounters();
    this.#graphs.set(key, counters);
    return counters;
  }
}

function keyOf({ model, role }: GraphKey): string {
  return `${model} ${role}`;
}

function emptyCounters(): Counters {
  return {
    lastInference: 0,
    inferences: 0,
    executions: 0,
    success: new Duration(),
    fail: new Duration(),
    queue: new Duration(),
    compute: new Duration(),
  };
}
