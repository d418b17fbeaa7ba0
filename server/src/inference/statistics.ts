import type { GraphRole } from '@elbo/models';

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
  /** `name/version` */
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

/** Counts what happens to the graphs. Its owner tells it of requests, and whoever watches the scheduler of batches. */
export class InferenceStatistics {
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

  /** A request's first rows were handed to a worker, `ns` nanoseconds after they were submitted. */
  waited(graph: GraphKey, ns: number): void {
    this.#of(graph).queue.add(ns);
  }

  /** A worker ran a batch in `ns` nanoseconds. */
  executed(graph: GraphKey, ns: number): void {
    const counters = this.#of(graph);
    counters.executions++;
    counters.compute.add(ns);
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
