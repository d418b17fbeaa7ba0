import { Histogram, type HistogramConfiguration } from 'prom-client';

/** Bounds from `first` on, each `factor` times the one before, up to `last`. */
export function geometricBuckets(first: number, last: number, factor: number): number[] {
  const bounds: number[] = [];
  for (let bound = first; bound <= last * (1 + 1e-9); bound *= factor) bounds.push(Number(bound.toPrecision(3)));
  return bounds;
}

/** The observations of one set of labels. */
export class Observations {
  readonly #bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let low = 0;
    let high = this.#bounds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (this.#bounds[middle] ?? Number.POSITIVE_INFINITY)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] ?? 0) + 1;
    this.sum += value;
  }
}

/**
 * A histogram for what is observed several times in every request. prom-client's own makes an object and a hash of the
 * labels for each observation, on the thread that answers everybody; here `child` is asked for once.
 */
export class ChildHistogram<Label extends string> extends Histogram<Label> {
  readonly #configuration: HistogramConfiguration<Label>;
  readonly #bounds: readonly number[];
  readonly #children = new Map<string, { readonly labels: Record<Label, string>; readonly seen: Observations }>();

  constructor(configuration: HistogramConfiguration<Label> & { readonly buckets: number[] }) {
    super(configuration);
    this.#configuration = configuration;
    this.#bounds = configuration.buckets;
  }

  /** The observations with these labels; the same object for the same values. */
  child(labels: Record<Label, string>): Observations {
    const key = JSON.stringify(Object.entries(labels).sort());
    const known = this.#children.get(key);
    if (known !== undefined) return known.seen;
    const seen = new Observations(this.#bounds);
    this.#children.set(key, { labels, seen });
    return seen;
  }

  /** What the registry writes, in place of the base class's own observations. */
  async getForPromString(): Promise<object> {
    const { name, help } = this.#configuration;
    const values: object[] = [];
    for (const { labels, seen } of this.#children.values()) {
      let count = 0;
      for (const [i, observed] of seen.counts.entries()) {
        count += observed;
        const le = this.#bounds[i] ?? '+Inf';
        values.push({ metricName: `${name}_bucket`, labels: { le }, sharedLabels: labels, value: count });
      }
      values.push({ metricName: `${name}_sum`, labels: {}, sharedLabels: labels, value: seen.sum });
      values.push({ metricName: `${name}_count`, labels: {}, sharedLabels: labels, value: count });
    }
    return { name, help, type: 'histogram', values, aggregator: 'sum' };
  }
}
