import { answered, FLOAT32, float32Of, type Sent, service } from '../api/service.js';
import { type Model, queryWithLabel } from './model.js';

export interface Decoded {
  /** N x item. */
  readonly items: Float32Array;
  readonly sent: Sent;
}

/** Six digits: as exact as a picture shows, and short enough for a command. */
export function written(latent: ArrayLike<number>): number[] {
  return Array.from(latent, (value) => Number(value.toPrecision(6)));
}

export async function decode(
  model: Model,
  latents: readonly ArrayLike<number>[],
  label: number,
  signal: AbortSignal,
): Promise<Decoded> {
  const answer = await answered(signal, (options) =>
    service.POST('/decode', {
      params: { query: queryWithLabel(model, label) },
      headers: { accept: FLOAT32 },
      body: { latents: latents.map(written) },
      parseAs: 'arrayBuffer',
      ...options,
    }),
  );
  return { items: float32Of(answer), sent: answer.sent };
}

/** Numbers of a request, of its latents and of its answer, at most: the service has limits for both. */
const NUMBERS_AT_ONCE = 1e6;
const LATENTS_AT_ONCE = 256;

/** Any number of latents, in as many requests as it takes; N x item. */
export async function decodeAll(
  model: Model,
  latents: readonly ArrayLike<number>[],
  label: number,
  signal: AbortSignal,
): Promise<Float32Array> {
  const { latentSize, itemSize } = model;
  const fit = Math.floor(NUMBERS_AT_ONCE / Math.max(latentSize, itemSize));
  const atOnce = Math.max(1, Math.min(LATENTS_AT_ONCE, fit));
  const items = new Float32Array(latents.length * itemSize);
  for (let start = 0; start < latents.length; start += atOnce) {
    const part = await decode(model, latents.slice(start, start + atOnce), label, signal);
    items.set(part.items, start * itemSize);
  }
  return items;
}

/** How the command of a route that answers with items has them: as a picture where they are pictures. */
export function itemOutput({ input }: Model, name: string): { readonly accept?: string; readonly output?: string } {
  return input.kind === 'image' ? { accept: 'image/png', output: `${name}.png` } : { accept: 'application/json' };
}
