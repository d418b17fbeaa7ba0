import { answered, service } from '../api/service.js';
import { type Answer, useAnswer } from '../api/use-answer.js';
import { type Model, queryOf, queryWithLabel } from './model.js';
import { codeOf, type Points } from './points.js';
import { LARGEST_SEED } from './random.js';
import { usePoints } from './use-points.js';

/** Where a latent comes from, as the address says it: `mean`, `item:12`, or `sample:SEED` with the place among its samples. */
export type Start =
  | { readonly kind: 'mean' }
  | { readonly kind: 'item'; readonly item: number }
  | { readonly kind: 'sample'; readonly seed: number; readonly place: number; readonly temperature: number };

/** What the service takes for a sample at most. */
const LARGEST_PLACE = 1023;
const LARGEST_TEMPERATURE = 10;

export function startOf(text: string | undefined, { details: { reference } }: Model, otherwise: Start): Start {
  const [kind, ...numbers] = text?.split(':') ?? [];
  const [first = Number.NaN, place = 0, temperature = 1] = numbers.map(Number);
  if (kind === 'mean') return { kind };
  if (!isWhole(first, LARGEST_SEED)) return otherwise;
  if (kind === 'item' && reference !== undefined) return { kind, item: Math.min(first, reference.count - 1) };
  const isSample = isWhole(place, LARGEST_PLACE) && temperature >= 0 && temperature <= LARGEST_TEMPERATURE;
  return kind === 'sample' && isSample ? { kind, seed: first, place, temperature } : otherwise;
}

function isWhole(value: number, largest: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= largest;
}

export function startText(start: Start): string {
  if (start.kind === 'mean') return 'mean';
  if (start.kind === 'item') return `item:${start.item}`;
  const { seed, place, temperature } = start;
  return place === 0 && temperature === 1 ? `sample:${seed}` : `sample:${seed}:${place}:${temperature}`;
}

export interface StartLatent {
  readonly latent: Float32Array;
  /** Class that it came with, of conditional models. */
  readonly label: number;
}

/** The latent of a start, as soon as it is known; undefined starts nothing. */
export function useStart(model: Model, start: Start | undefined, label?: number): Answer<StartLatent> {
  const points = usePoints(model, start?.kind === 'item');
  const isKnown = start?.kind === 'item' && points.value !== undefined;
  const key =
    start === undefined || (start.kind === 'item' && !isKnown) ? undefined : `${startText(start)} ${label ?? ''}`;
  const answer = useAnswer(key, (signal) => latentOf(model, start ?? { kind: 'mean' }, label, points.value, signal));
  return start?.kind === 'item' && !isKnown ? { ...points, value: undefined } : answer;
}

async function latentOf(
  model: Model,
  start: Start,
  label: number | undefined,
  points: Points | undefined,
  signal: AbortSignal,
): Promise<StartLatent> {
  if (start.kind === 'mean') return { latent: middleOf(model), label: label ?? 0 };
  if (start.kind === 'item' && points !== undefined) {
    return { latent: codeOf(points, start.item), label: label ?? points.labels?.[start.item] ?? 0 };
  }
  if (start.kind === 'item') return { latent: middleOf(model), label: label ?? 0 };
  const { seed, place, temperature } = start;
  const query = label === undefined ? queryOf(model) : queryWithLabel(model, label);
  const { value } = await answered(signal, (options) =>
    service.POST('/sample', { params: { query: { ...query, count: place + 1, seed, temperature } }, ...options }),
  );
  return { latent: Float32Array.from(value.latents[place] ?? []), label: value.labels?.[place] ?? 0 };
}

/** The prior's mean; of a mixture, that of the latents which it was fitted to. */
function middleOf({ details, latentSize }: Model): Float32Array {
  const { prior, latent } = details;
  const mean = prior.kind === 'standard-normal' ? undefined : latent.aggregate_posterior?.mean;
  return mean === undefined ? new Float32Array(latentSize) : Float32Array.from(mean);
}
