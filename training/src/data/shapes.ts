import { RandomSource } from '@elbo/models';
import sharp from 'sharp';
import { DataError } from './data-error.js';
import { type Examples, type Factors, inMemory } from './dataset.js';

/** Height and width of an image. */
export const SHAPES_SIZE = 32;

/**
 * The factors, independent of each other, as in dSprites (Matthey et al., 2017). Unlike there, orientations stay within a
 * quarter turn, so that a square (which looks the same after one) has no two names for one picture.
 */
export const SHAPES_FACTORS = {
  names: ['shape', 'scale', 'orientation', 'x', 'y'],
  cardinalities: [3, 6, 16, 16, 16],
} as const;

/** The classes: what the first factor stands for. */
export const SHAPES_CLASSES = ['square', 'ellipse', 'heart'] as const;

/** How many images there are: one for each combination of factors. */
export const SHAPES_COMBINATIONS = SHAPES_FACTORS.cardinalities.reduce((product, size) => product * size, 1);

const [SHAPES, SCALES, ORIENTATIONS, POSITIONS] = SHAPES_FACTORS.cardinalities;
const FACTORS = SHAPES_FACTORS.names.length;

/** Each sprite is drawn once, in a tile that every position leaves inside the image. */
const TILE = SHAPES_SIZE - POSITIONS + 1;
const LARGEST_RADIUS = 8;

/** Outlines within the unit circle, y pointing down: a square, an ellipse and a heart. */
const OUTLINES = [
  '<rect x="-0.7" y="-0.7" width="1.4" height="1.4"/>',
  '<ellipse rx="1" ry="0.5"/>',
  '<path d="M0,.95 C-.35,.6 -1,.2 -.9,-.35 C-.8,-.85 -.25,-.9 0,-.4 C.25,-.9 .8,-.85 .9,-.35 C1,.2 .35,.6 0,.95 Z"/>',
] as const;

// Far from the streams that training draws from, so that one seed can serve both.
const SAMPLING_STREAM = 17;

/**
 * Draws white sprites on black, with factors sampled uniformly without replacement, so that no image comes twice.
 * @param options.count 1 … SHAPES_COMBINATIONS
 * @param options.seed an integer from 0 to 2^32 - 1; the same seed gives the same bytes
 * @returns images [count, 1, 32, 32] in memory, labels (the shape: 0 square, 1 ellipse, 2 heart) and factors
 * @throws {DataError} where `count` is out of range
 */
export async function generateShapes(options: {
  readonly count: number;
  readonly seed: number;
}): Promise<Examples & { readonly labels: Uint8Array; readonly factors: Factors }> {
  const { count, seed } = options;
  if (!Number.isInteger(count) || count < 1 || count > SHAPES_COMBINATIONS) {
    throw new DataError(`shapes: count is ${count}; expected an integer from 1 to ${SHAPES_COMBINATIONS}`);
  }
  const chosen = new RandomSource(seed, SAMPLING_STREAM).permutation(SHAPES_COMBINATIONS).subarray(0, count);
  const factors = new Uint8Array(count * FACTORS);
  chosen.forEach((combination, row) => {
    let rest = combination;
    SHAPES_FACTORS.cardinalities.forEach((cardinality, factor) => {
      factors[row * FACTORS + factor] = rest % cardinality;
      rest = Math.floor(rest / cardinality);
    });
  });
  const extras = {
    labels: Uint8Array.from({ length: count }, (_, row) => factors[row * FACTORS] as number),
    factors: { ...SHAPES_FACTORS, values: factors },
  };
  return { ...inMemory(await drawShapes(factors), [1, SHAPES_SIZE, SHAPES_SIZE], extras), ...extras };
}

/**
 * Draws the image of each row of factors.
 * @param factors [count, 5] in the order of `SHAPES_FACTORS`, each below its cardinality
 * @returns [count, 1, 32, 32]
 * @throws {DataError} where a factor is out of range
 */
export async function drawShapes(factors: Uint8Array): Promise<Uint8Array> {
  const sprites = await drawSprites();
  const images = new Uint8Array((factors.length / FACTORS) * SHAPES_SIZE * SHAPES_SIZE);
  for (let row = 0; row * FACTORS < factors.length; row++) {
    const [shape, scale, orientation, x, y] = SHAPES_FACTORS.cardinalities.map((cardinality, factor) => {
      const value = factors[row * FACTORS + factor];
      if (value !== undefined && value < cardinality) return value;
      throw new DataError(
        `shapes: ${SHAPES_FACTORS.names[factor]} of row ${row} is ${value}; expected 0 to ${cardinality - 1}`,
      );
    }) as [number, number, number, number, number];
    const left = orientation * TILE;
    const top = (shape * SCALES + scale) * TILE;
    for (let line = 0; line < TILE; line++) {
      const from = (top + line) * ORIENTATIONS * TILE + left;
      images.set(sprites.subarray(from, from + TILE), (row * SHAPES_SIZE + y + line) * SHAPES_SIZE + x);
    }
  }
  return images;
}

/** All sprites in one picture: a row of tiles for each shape and scale, a column for each orientation. */
async function drawSprites(): Promise<Uint8Array> {
  const tiles: string[] = [];
  OUTLINES.forEach((outline, shape) => {
    for (let scale = 0; scale < SCALES; scale++) {
      for (let orientation = 0; orientation < ORIENTATIONS; orientation++) {
        const x = (orientation + 0.5) * TILE;
        const y = (shape * SCALES + scale + 0.5) * TILE;
        const radius = LARGEST_RADIUS * (0.5 + (0.5 * scale) / (SCALES - 1));
        const angle = (90 * orientation) / ORIENTATIONS;
        tiles.push(`<g transform="translate(${x} ${y}) rotate(${angle}) scale(${radius})">${outline}</g>`);
      }
    }
  });
  const size = `width="${ORIENTATIONS * TILE}" height="${SHAPES * SCALES * TILE}"`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" ${size}><rect ${size}/><g fill="#fff">${tiles.join('')}</g></svg>`;
  return sharp(Buffer.from(svg)).extractChannel('red').raw().toBuffer();
}
