import { type Static, Type } from 'typebox';
import { RandomSource } from './random.js';

/** Numbers of one output that are kept, evenly spread over it. */
const KEPT = 64;

/** Of a number or of 1, whichever is larger: execution providers may differ by so much. */
const TOLERANCE = 1e-3;

/** What the graphs gave for the golden input when they were exported; of long outputs some numbers, evenly spread. */
export const GoldenSchema = Type.Object(
  {
    mean: Type.Array(Type.Number(), { minItems: 1, maxItems: KEPT }),
    x_mean: Type.Optional(Type.Array(Type.Number(), { minItems: 1, maxItems: KEPT })),
    score: Type.Array(Type.Number(), { minItems: 1, maxItems: 1 }),
  },
  {
    description:
      'Outputs for one fixed input (class 0 where there are classes), which a server holds its own against before it serves',
  },
);
export type Golden = Static<typeof GoldenSchema>;

interface Shapes {
  readonly input: {
    readonly kind: 'image' | 'vector';
    readonly shape: readonly number[];
    readonly value_range: readonly [number, number] | number[];
  };
  readonly latent: { readonly size: number };
}

/** The item: noise over the value range for images; the middle of it for tables, whose range can be endless. */
export function goldenItem({ input }: Shapes): Float32Array {
  const [low = 0, high = 1] = input.value_range;
  const random = new RandomSource(0);
  const item = new Float32Array(input.shape.reduce((product, dimension) => product * dimension, 1));
  return item.map(() => low + (high - low) * (input.kind === 'image' ? random.uniform() : 0.5));
}

/** The latents, Z. */
export function goldenLatents({ latent }: Shapes): Float32Array {
  return new RandomSource(0).fillNormal(new Float32Array(latent.size));
}

/** @param outputs `mean` and `score` of the golden item, `x_mean` of the golden latents */
export function goldenOf(
  outputs: Readonly<Record<'mean' | 'x_mean' | 'score', Float32Array>>,
  { input }: Pick<Shapes, 'input'>,
): Golden {
  return {
    mean: kept(outputs.mean),
    // Codes of categories of a table may turn over where two are as probable.
    ...(input.kind === 'image' && { x_mean: kept(outputs.x_mean) }),
    score: kept(outputs.score),
  };
}

/** The first number of an output that is not what it was, in words; undefined where all are. */
export function goldenDifference(name: keyof Golden, output: Float32Array, golden: Golden): string | undefined {
  const expected = golden[name];
  if (expected === undefined) return undefined;
  const actual = kept(output);
  const at = expected.findIndex(
    (value, i) => !(Math.abs((actual[i] ?? Number.NaN) - value) <= TOLERANCE * Math.max(1, Math.abs(value))),
  );
  if (at === -1 && actual.length === expected.length) return undefined;
  return `${name} of the golden input is ${actual[at]} at place ${at} of ${expected.length}; the manifest says ${expected[at]}`;
}

function kept(values: Float32Array): number[] {
  const count = Math.min(KEPT, values.length);
  return Array.from({ length: count }, (_, i) => values[Math.floor((i * values.length) / count)] ?? Number.NaN);
}
