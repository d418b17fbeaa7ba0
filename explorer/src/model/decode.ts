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

/** How the command of a route that answers with items has them: as a picture where they are pictures. */
export function itemOutput({ input }: Model, name: string): { readonly accept?: string; readonly output?: string } {
  return input.kind === 'image' ? { accept: 'image/png', output: `${name}.png` } : { accept: 'application/json' };
}
