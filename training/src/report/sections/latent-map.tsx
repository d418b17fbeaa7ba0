import type { VNode } from 'preact';
import { median } from 'simple-statistics';
import { principalComponents } from '../../evaluation/principal-components.js';
import type { ImageForm } from '../../pictures/image-form.js';
import { type Colour, classColours, css, orderedColours } from '../colours.js';
import { type InlineImage, sheet as sheetOf } from '../images.js';
import { type Observations, readItems } from '../observations.js';
import { pText } from './anomaly.js';
import { Choice, MOST_PANELS, NeedsData, type Section } from './section.js';
import { whole } from './summary.js';

/** Test examples on the map at the most. */
export const MOST_POINTS = 5000;
const WIDTH = 1000;
const HEIGHT = 760;
const MARGIN = 16;
/** More names than these would cover the map. */
const MOST_NAMES = 30;
/** From the middle of a name to that of the next one at the least, in units of the map: what a name is high. */
const NAME_DISTANCE = 36;
/** Rounds in which names that cover each other move apart. */
const PUSHES = 100;
/** Up to so many values a factor is taken for one without an order, such as a kind of shape. */
const UNORDERED = 4;

/** What points are coloured by. */
interface Colouring {
  readonly name: string;
  readonly levels: readonly string[];
  readonly colours: readonly Colour[];
  /** The level of each point. */
  readonly values: readonly number[];
  /** Whether levels are named on the map, in the midst of their points. */
  readonly isNamed: boolean;
}

/** What the page's script knows of each point. */
export interface MapData {
  /** Places on the map: x, y of each point in turn, in the units of its view box. */
  readonly places: readonly number[];
  /** What is said about each point beside its number. */
  readonly texts: readonly string[];
  readonly sheet?: { readonly columns: number; readonly rows: number };
}

export interface LatentMap {
  readonly section: Section;
  /** Undefined where there is no map. */
  readonly data?: MapData;
}

/** The test examples in the plane in which their posterior means spread most. */
export async function latentMap(
  size: number,
  observed: Observations | undefined,
  form: ImageForm | undefined,
): Promise<LatentMap> {
  const head = { id: 'map', title: 'Map of the latent space' };
  if (observed === undefined) return { section: { ...head, body: <NeedsData /> } };
  const count = Math.min(MOST_POINTS, observed.examples.count);
  const { points, axes } = project(observed.means.subarray(0, count * size), size);
  const places = fitted(points);
  const colourings = coloursOf(observed, count);
  const columns = Math.ceil(Math.sqrt(count));
  const sheet =
    form === undefined
      ? undefined
      : await sheetOf(
          form,
          await readItems(
            observed.examples,
            Array.from({ length: count }, (_, i) => i),
          ),
          columns,
        );
  return {
    section: {
      ...head,
      body: (
        <>
          <p>
            The posterior means of {whole(count)} test examples of {observed.dataset.name}. {axes}{' '}
            <span class="scripted">Point at one, or walk with the arrow keys, to see it.</span>
          </p>
          <MapPicture places={places} colourings={colourings} sheet={sheet} form={form} />
        </>
      ),
    },
    data: {
      places,
      texts: Array.from({ length: count }, (_, i) => describe(observed, i)),
      ...(sheet !== undefined && { sheet: { columns, rows: Math.ceil(count / columns) } }),
    },
  };
}

function project(means: Float32Array, size: number): { points: Float64Array; axes: string } {
  if (size === 1) {
    // One dimension has no plane: the examples' order spreads it, which says nothing, but keeps points apart.
    const points = Float64Array.from({ length: 2 * means.length }, (_, i) =>
      i % 2 === 0 ? means[i / 2] : ((i >> 1) % 97) / 97,
    );
    return { points, axes: 'To the right the one latent dimension; the height has no meaning.' };
  }
  if (size === 2)
    return { points: Float64Array.from(means), axes: 'To the right z0, upwards z1: the whole latent space.' };
  const { points, shares } = principalComponents(means, size);
  const [first, second] = shares.map((share) => `${(100 * share).toFixed(1)}\u00a0%`);
  return {
    points,
    axes: `To the right their first principal component (${first} of the variance), upwards the second (${second}).`,
  };
}

/** Whole numbers within the view box, one unit as long in both directions, y pointing down. */
function fitted(points: Float64Array): number[] {
  const low = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const high = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const [i, value] of points.entries()) {
    low[i % 2] = Math.min(low[i % 2], value);
    high[i % 2] = Math.max(high[i % 2], value);
  }
  const room = [WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN];
  const scale = Math.min(...room.map((length, axis) => length / Math.max(high[axis] - low[axis], 1e-12)));
  return Array.from(points, (value, i) => {
    const offset = (value - (low[i % 2] + high[i % 2]) / 2) * scale;
    return Math.round(i % 2 === 0 ? WIDTH / 2 + offset : HEIGHT / 2 - offset);
  });
}

const P_LEVELS = [0.01, 0.05, 0.25, 0.5, 1] as const;

function coloursOf({ examples: { labels, factors }, pValues }: Observations, count: number): Colouring[] {
  const indices = Array.from({ length: count }, (_, i) => i);
  const colourings: Colouring[] = [];
  // The first factor of shapes is the label, too.
  if (labels !== undefined && factors === undefined) {
    const kinds = labels.reduce((most, label) => Math.max(most, label), 0) + 1;
    const levels = Array.from({ length: kinds }, (_, i) => String(i));
    colourings.push({
      name: 'class',
      levels,
      colours: classColours(kinds),
      values: indices.map((i) => labels[i]),
      isNamed: kinds <= MOST_NAMES,
    });
  }
  factors?.names.forEach((name, factor) => {
    const kinds = factors.cardinalities[factor];
    colourings.push({
      name,
      levels: Array.from({ length: kinds }, (_, i) => String(i)),
      colours: kinds <= UNORDERED ? classColours(kinds) : orderedColours(kinds),
      values: indices.map((i) => factors.values[i * factors.names.length + factor]),
      isNamed: false,
    });
  });
  colourings.length = Math.min(colourings.length, MOST_PANELS - 1);
  colourings.push({
    name: 'p-value of the anomaly score',
    levels: P_LEVELS.map((limit) => `up to ${limit}`),
    colours: [...orderedColours(P_LEVELS.length)].reverse(),
    values: indices.map((i) =>
      Math.max(
        0,
        P_LEVELS.findIndex((limit) => pValues[i] <= limit),
      ),
    ),
    isNamed: false,
  });
  return colourings;
}

function describe({ examples: { labels, factors }, pValues }: Observations, i: number): string {
  const parts =
    factors === undefined
      ? labels === undefined
        ? []
        : [`class ${labels[i]}`]
      : factors.names.map((name, factor) => `${name} ${factors.values[i * factors.names.length + factor]}`);
  return [...parts, `p\u00a0${pText(pValues[i])}`].join(' · ');
}

function MapPicture(properties: {
  places: readonly number[];
  colourings: readonly Colouring[];
  sheet: InlineImage | undefined;
  form: ImageForm | undefined;
}): VNode {
  const { places, colourings, sheet, form } = properties;
  const options = colourings.map(({ name }) => name);
  return (
    <div class="switch map" id="latent-map">
      {colourings.length > 1 && <Choice name="colour" legend="Colour by" options={options} />}
      <div class="plane">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          role="img"
          aria-label={`Map of ${whole(places.length / 2)} points, coloured by ${options[0]}`}
        >
          {colourings.map(({ name, colours, values, isNamed, levels }, panel) => (
            <g key={name} data-panel={panel}>
              {colours.map((colour, level) => (
                <path
                  key={levels[level]}
                  class="dots"
                  data-level={level}
                  style={{ stroke: css(colour) }}
                  d={dots(places, values, level)}
                />
              ))}
              {isNamed &&
                names(levels, places, values).map(({ text, at }) => (
                  <text key={text} class="class-name" x={at[0]} y={at[1]}>
                    {text}
                  </text>
                ))}
            </g>
          ))}
          <circle class="chosen" r="9" cx="-99" cy="-99" />
        </svg>
        <div class="card" hidden>
          {sheet !== undefined && form !== undefined && (
            <div
              class="thumbnail"
              style={{
                backgroundImage: `url("${sheet.url}")`,
                aspectRatio: `${form.shape[2]} / ${form.shape[1]}`,
              }}
            />
          )}
          <output />
        </div>
      </div>
      {colourings.map(({ name, levels, colours }, panel) => (
        <ul key={name} class="legend" data-panel={panel} aria-label={name}>
          {levels.map((text, level) => (
            <li key={text} data-level={level}>
              <span class="swatch" style={{ background: css(colours[level]) }} />
              {text}
            </li>
          ))}
        </ul>
      ))}
    </div>
  );
}

/** Lines of no length, which round caps make dots of: a few bytes a point. */
function dots(places: readonly number[], values: readonly number[], level: number): string {
  return values.map((value, i) => (value === level ? `M${places[2 * i]},${places[2 * i + 1]}h0` : '')).join('');
}

function middle(places: readonly number[], values: readonly number[], level: number): [number, number] | undefined {
  const of = values.flatMap((value, i) => (value === level ? [i] : []));
  if (of.length === 0) return undefined;
  return [median(of.map((i) => places[2 * i])), median(of.map((i) => places[2 * i + 1]))];
}

/** Names of the levels that have points, each in the midst of them, or as near to it as leaves all readable. */
function names(
  levels: readonly string[],
  places: readonly number[],
  values: readonly number[],
): { readonly text: string; readonly at: readonly [number, number] }[] {
  const named = levels.flatMap((text, level) => {
    const place = middle(places, values, level);
    return place === undefined ? [] : [{ text, place }];
  });
  const apart = pushedApart(
    named.map(({ place }) => place),
    NAME_DISTANCE,
  );
  return named.map(({ text }, i) => ({ text, at: apart[i] }));
}

/** Points moved until no two are nearer than `distance`, or nearly so where there is little room. */
function pushedApart(points: readonly (readonly [number, number])[], distance: number): [number, number][] {
  const moved = points.map(([x, y]): [number, number] => [x, y]);
  for (let round = 0; round < PUSHES; round++) {
    moved.forEach((a, i) => {
      moved.slice(i + 1).forEach((b, offset) => {
        const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
        const length = Math.hypot(dx, dy);
        if (length >= distance) return;
        // Points at one place part in directions of their own.
        const angle = length > 0 ? Math.atan2(dy, dx) : i + offset;
        const push = (distance - length) / 2;
        for (const [point, sign] of [
          [a, -1],
          [b, 1],
        ] as const) {
          point[0] += sign * push * Math.cos(angle);
          point[1] += sign * push * Math.sin(angle);
        }
      });
    });
  }
  return moved.map(([x, y]) => [inside(x, WIDTH), inside(y, HEIGHT)]);
}

function inside(value: number, length: number): number {
  return Math.round(Math.min(length - NAME_DISTANCE / 2, Math.max(NAME_DISTANCE / 2, value)));
}
