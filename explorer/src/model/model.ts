import type { ModelDetails, ModelSummary } from '../api/service.js';

export type Input = ModelDetails['input'];
export type ImageInput = Extract<Input, { kind: 'image' }>;
export type VectorInput = Extract<Input, { kind: 'vector' }>;

export interface Dimension {
  /** From 0. */
  readonly index: number;
  /** Mean KL divergence to the prior, in nats. */
  readonly kl: number;
  /** Where a traversal goes. */
  readonly range: readonly [number, number];
}

/** A loaded version, with what every view asks of it. */
export interface Model {
  readonly details: ModelDetails;
  readonly name: string;
  readonly version: string;
  readonly key: string;
  readonly input: Input;
  readonly itemSize: number;
  readonly latentSize: number;
  /** Those that tell something about an item, the most telling first; never none. */
  readonly active: readonly Dimension[];
  /** Names of the classes of a conditional model, whose routes take a label. */
  readonly classes: readonly string[] | undefined;
}

/** A dimension below this tells nothing: its posterior is the prior for every item. */
const ACTIVE_NATS = 0.01;
const PRIOR_RANGE = [-3, 3] as const;

export function modelOf(details: ModelDetails): Model {
  const { name, version, input, latent, condition } = details;
  const all: Dimension[] = latent.kl_per_dimension.map((kl, index) => {
    const [low, high] = latent.traversal_ranges?.[index] ?? PRIOR_RANGE;
    return { index, kl, range: high - low > 1e-3 ? [low, high] : PRIOR_RANGE };
  });
  const sorted = all.toSorted((a, b) => b.kl - a.kl);
  const active = sorted.filter(({ kl }) => kl > ACTIVE_NATS);
  return {
    details,
    name,
    version,
    key: `${name}/${version}`,
    input,
    itemSize: input.shape.reduce((product, size) => product * size, 1),
    latentSize: latent.size,
    active: active.length > 0 ? active : sorted.slice(0, 2),
    classes: condition && Array.from({ length: condition.classes }, (_, i) => condition.names?.[i] ?? String(i)),
  };
}

/** The query that names a version. */
export function queryOf({ name, version }: Pick<Model, 'name' | 'version'>): { model: string; version: string } {
  return { model: name, version };
}

/** The same with a class, for models that take one. */
export function queryWithLabel(model: Model, label: number): { model: string; version: string; label?: string } {
  return model.classes === undefined ? queryOf(model) : { ...queryOf(model), label: String(label) };
}

/** `z` with the number of a dimension, from 0 as everywhere in the service. */
export function dimensionName(index: number): string {
  return `z${[...String(index)].map((digit) => '₀₁₂₃₄₅₆₇₈₉'[Number(digit)]).join('')}`;
}

export interface ColumnView {
  readonly name: string;
  readonly categories: readonly string[] | undefined;
}

/** What each number of a row is called. */
export function columnsOf({ columns, shape }: VectorInput): ColumnView[] {
  return Array.from({ length: shape[0] }, (_, i) => {
    const column = columns?.[i];
    return {
      name: column?.name ?? `column ${i}`,
      categories: column?.kind === 'categorical' ? column.categories : undefined,
    };
  });
}

/** How a value of a column reads. */
export function cellText({ categories }: ColumnView, value: number): string {
  if (Number.isNaN(value)) return 'missing';
  return categories?.[Math.round(value)] ?? significant(value);
}

/** Four significant digits, as short as they go. */
export function significant(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return String(value);
  const magnitude = Math.abs(value);
  if (magnitude !== 0 && (magnitude >= 1e6 || magnitude < 1e-4)) return value.toExponential(2).replace('e+', 'e');
  return String(Number(value.toPrecision(digits))).replace('-', '−');
}

/** The one that a list of versions begins with when nobody has chosen. */
export function defaultOf(models: readonly ModelSummary[]): ModelSummary | undefined {
  return models.find(({ is_default }) => is_default) ?? models[0];
}

/** Shares of a whole, from the least on. */
export function percent(share: number): string {
  return `${significant(share * 100, 2)} %`;
}
