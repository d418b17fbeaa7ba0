import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageInput, itemSize, type Manifest, RandomSource } from '@elbo/models';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import sharp from 'sharp';

/** How items stand in the body of a request. */
export type BodyKind = 'float32' | 'JSON' | 'PNG';

/** Items for one request, and what `encode` must answer. */
export interface Payload {
  readonly kind: BodyKind;
  readonly items: number;
  /** items x input shape */
  readonly values: Float32Array;
  readonly input: ImageInput;
  /** Of a PNG body alone, which is one item. */
  readonly png: Buffer;
  readonly expected: Encoding;
}

export interface Encoding {
  readonly mean: ArrayLike<number>;
  readonly logVariance: ArrayLike<number>;
}

export const SHAPES: readonly (readonly [BodyKind, number])[] = [
  ['float32', 1],
  ['float32', 64],
  ['JSON', 1],
  ['JSON', 64],
  ['PNG', 1],
];

/** Answers of contenders differ from the graph's by rounding alone. */
export const TOLERANCE = 1e-4;

/**
 * Pictures that the model draws itself, with whole bytes as pixels, so that every kind of body holds the same numbers.
 * @param directory of a model version of images
 */
export async function payloads(directory: string): Promise<Payload[]> {
  const manifest = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as Manifest;
  const input = manifest.input as ImageInput;
  const [, height, width] = input.shape;
  const size = itemSize(input);
  const most = Math.max(...SHAPES.map(([, items]) => items));
  const latents = new RandomSource(7).fillNormal(new Float32Array(most * manifest.latent.size));
  const drawn = await run(join(directory, 'decoder.onnx'), 'z', latents, [most, manifest.latent.size], ['x_mean']);
  const pixels = Uint8Array.from(drawn.x_mean, (value) => Math.round(value * 255));
  const values = Float32Array.from(pixels, (byte) => byte / 255);
  const encoded = await run(
    join(directory, 'encoder.onnx'),
    'x',
    values,
    [most, ...input.shape],
    ['mean', 'log_variance'],
  );
  const png = await sharp(pixels.subarray(0, size), { raw: { width, height, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toBuffer();
  return SHAPES.map(([kind, items]) => ({
    kind,
    items,
    values: values.slice(0, items * size),
    input,
    png,
    expected: {
      mean: encoded.mean.subarray(0, items * manifest.latent.size),
      logVariance: encoded.log_variance.subarray(0, items * manifest.latent.size),
    },
  }));
}

/** The largest difference of an answer from what is expected; infinite where it has another size. */
export function difference({ expected }: Payload, { mean, logVariance }: Encoding): number {
  const parts: [ArrayLike<number>, ArrayLike<number>][] = [
    [expected.mean, mean],
    [expected.logVariance, logVariance],
  ];
  return Math.max(
    ...parts.map(([wanted, given]) =>
      wanted.length === given.length
        ? Array.from(wanted).reduce((worst, value, i) => Math.max(worst, distance(value, given[i])), 0)
        : Number.POSITIVE_INFINITY,
    ),
  );
}

/** A number that is none is as far away as can be. */
function distance(a: number, b: number): number {
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
}

async function run<Name extends string>(
  graph: string,
  input: string,
  data: Float32Array,
  dims: readonly number[],
  outputs: readonly Name[],
): Promise<Record<Name, Float32Array>> {
  const session = await InferenceSession.create(graph);
  const results = await session.run({ [input]: new Tensor('float32', data, dims) }, [...outputs]);
  await session.release();
  return Object.fromEntries(outputs.map((name) => [name, results[name].data])) as Record<Name, Float32Array>;
}
