import { parseArgs } from 'node:util';
import { RandomSource, readModel } from '@elbo/models';
import { splitHeldOut } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import { openExamples } from '@elbo/training/data/example-reader';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { ServedModel } from '@elbo/training/offline/served-model';
import { float32 } from '@elbo/training/onnx/tensor';
import { parseConfiguration } from '@elbo/training/vae/configuration';

// In how many images of shapes with a defect drawn on them the largest pixel of the served error map is one of the
// defect's. Choices are made by the validation part, where other defects are drawn.

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/shapes/1' },
    part: { type: 'string', default: 'test' },
  },
});

const IMAGES = 300;
const SIDE = 32;
const SIZE = SIDE * SIDE;
const SEEDS: Readonly<Record<string, number>> = { test: 9, validation: 10 };
/** What a pixel changes by, at least, where a defect can be seen at all. */
const VISIBLE = 0.3;
/** Smaller ones, such as a scratch outside the image, are left out. */
const FEWEST_PIXELS = 4;

type Kind = 'scratch' | 'blot' | 'missing part' | 'solid scratch';
/** Draws on an image; the places of the pixels that it drew. */
type Draw = (image: Float32Array, random: RandomSource) => ReadonlySet<number>;

/** A line of length 10, black where it is on white; two points on a pixel leave it as it was, so that some change nothing. */
const scratch: Draw = (image, random) => {
  const drawn = new Set<number>();
  for (const at of line(random)) {
    image[at] = image[at] < 0.5 ? 1 : 0;
    drawn.add(at);
  }
  return drawn;
};

/** The same without gaps. */
const solidScratch: Draw = (image, random) => {
  const drawn = new Set(line(random));
  for (const at of drawn) image[at] = image[at] < 0.5 ? 1 : 0;
  return drawn;
};

/** A white disc on black. */
const blot: Draw = (image, random) => {
  const column = between(random, 3, 29);
  const row = between(random, 3, 29);
  const drawn = new Set(disc(column, row).filter((at) => image[at] < 0.5));
  for (const at of drawn) image[at] = 1;
  return drawn;
};

/** A square of the sprite that is black. */
const missingPart: Draw = (image, random) => {
  const lit = [...image.keys()].filter((at) => image[at] > 0.5);
  const centre = lit[between(random, 0, lit.length)];
  const drawn = new Set(square(centre % SIDE, Math.floor(centre / SIDE)).filter((at) => image[at] > 0.2));
  for (const at of drawn) image[at] = 0;
  return drawn;
};

const KINDS: Readonly<Record<Kind, Draw>> = {
  scratch,
  blot,
  'missing part': missingPart,
  'solid scratch': solidScratch,
};

const images = await imagesOf(flags.part);
const engine = new OnnxRuntimeEngine(1);
const model = await ServedModel.open(engine, await readModel(flags.model));
const random = new RandomSource(SEEDS[flags.part]);
console.log(
  `| defect | maximum of the map in it, of ${flags.part} images of ${flags.model} | of those that the drawing changed |\n| --- | --- | --- |`,
);
for (const [kind, draw] of Object.entries(KINDS)) {
  const cases = images
    .map((original) => {
      const image = original.slice();
      const drawn = draw(image, random);
      return { image, drawn, isChanged: image.some((value, at) => Math.abs(value - original[at]) > VISIBLE) };
    })
    .filter(({ drawn }) => drawn.size >= FEWEST_PIXELS);
  const x = new Float32Array(cases.length * SIZE);
  for (const [i, { image }] of cases.entries()) x.set(image, i * SIZE);
  const maps = await model.errorMaps({ x: float32(x, [cases.length, 1, SIDE, SIDE]) });
  const isFound = cases.map(({ drawn }, i) => drawn.has(largest(maps.subarray(i * SIZE, (i + 1) * SIZE))));
  const shareOf = (isCounted: (i: number) => boolean) => {
    const counted = isFound.filter((_, i) => isCounted(i));
    return `${((100 * counted.filter((found) => found).length) / counted.length).toFixed(1)} % of ${counted.length}`;
  };
  console.log(`| ${kind} | ${shareOf(() => true)} | ${shareOf((i) => cases[i].isChanged)} |`);
}
await model.release();

async function imagesOf(part: string): Promise<Float32Array[]> {
  const { manifest } = await readModel(flags.model);
  const configuration = parseConfiguration(manifest.training.configuration);
  const { train, test } = await loadDataset('shapes', { seed: configuration.seed });
  const reader = await openExamples(part === 'test' ? test : splitHeldOut(train, configuration).validation);
  const bytes = await reader.range(0, IMAGES).finally(() => reader.close());
  return Array.from({ length: IMAGES }, (_, i) =>
    Float32Array.from(bytes.subarray(i * SIZE, (i + 1) * SIZE), (byte) => byte / 255),
  );
}

/** Whole numbers from `low` up to, not including, `high`. */
function between(random: RandomSource, low: number, high: number): number {
  return low + random.integer(high - low);
}

/** Pixels at steps of half a pixel; some twice. */
function line(random: RandomSource): number[] {
  const column = between(random, 6, 26);
  const row = between(random, 6, 26);
  const dx = random.uniform() * 2 - 1;
  const dy = random.uniform() * 2 - 1;
  const length = Math.hypot(dx, dy);
  const pixels: number[] = [];
  for (let t = 0; t < 10; t += 0.5)
    pixels.push(...pixel(Math.round(column + (dx / length) * t), Math.round(row + (dy / length) * t)));
  return pixels;
}

/** The 25 pixels around one, as far as they are inside. */
function square(column: number, row: number): number[] {
  return around(column, row, () => true);
}

/** The 21 of them that are not its corners, as far as they are inside. */
function disc(column: number, row: number): number[] {
  return around(column, row, (dx, dy) => dx * dx + dy * dy <= 5);
}

function around(column: number, row: number, isDrawn: (dx: number, dy: number) => boolean): number[] {
  const offsets = [-2, -1, 0, 1, 2];
  return offsets.flatMap((dy) => offsets.flatMap((dx) => (isDrawn(dx, dy) ? pixel(column + dx, row + dy) : [])));
}

/** The place of one, where it is inside. */
function pixel(column: number, row: number): number[] {
  const isInside = column >= 0 && row >= 0 && column < SIDE && row < SIDE;
  return isInside ? [row * SIDE + column] : [];
}

function largest(map: Float32Array): number {
  return map.reduce((best, value, at) => (value > map[best] ? at : best), 0);
}
