import { useMemo } from 'preact/hooks';
import type { Points } from '../../model/points.js';
import type { Projection } from '../../model/projection.js';
import type { View } from './viewport.js';

export interface ClassNamesProps {
  readonly points: Points;
  readonly projection: Projection;
  readonly view: View;
  readonly hidden: ReadonlySet<number>;
}

/** More would cover the points. */
const MOST_NAMES = 30;

/** Names where each class is among its own, so that nobody need tell ten colours apart. */
export function ClassNames({ points, projection, view, hidden }: ClassNamesProps) {
  const middles = useMemo(() => middlesOf(points, projection), [points, projection]);
  if (points.labelNames.length > MOST_NAMES) return null;
  return (
    <g class="class-names">
      {middles.map((middle, label) => {
        if (middle === undefined || hidden.has(label)) return null;
        const [left, top] = view.toPage(...middle);
        return (
          <text key={points.labelNames[label]} x={left} y={top}>
            {shortened(points.labelNames[label] ?? '')}
          </text>
        );
      })}
    </g>
  );
}

/** Characters of a name at most; the legend has it whole. */
const LONGEST = 24;

function shortened(name: string): string {
  const characters = [...name];
  return characters.length <= LONGEST ? name : `${characters.slice(0, LONGEST - 1).join('')}…`;
}

/** Points of a class that are looked at, and neighbours of each. */
const CANDIDATES = 60;
const NEIGHBOURS = 16;
/** A class that is nowhere among its own has no place for its name. */
const LEAST_SHARE = 0.6;

/** Of each class the point nearest to its middle that is among its own: the middle itself may lie between two clusters. */
function middlesOf(
  { labels, labelNames, count }: Points,
  { places, index }: Projection,
): ([number, number] | undefined)[] {
  const members = labelNames.map((): number[] => []);
  for (let point = 0; point < count; point++) members[labels?.[point] ?? -1]?.push(point);
  return members.map((own, label) => {
    const stride = Math.max(1, Math.floor(own.length / CANDIDATES));
    const among = own
      .filter((_, i) => i % stride === 0)
      .map((point): [number, number] => [places[2 * point] ?? 0, places[2 * point + 1] ?? 0])
      .filter((place) => {
        const near = index.nearest(...place, NEIGHBOURS);
        return near.filter(({ point }) => labels?.[point] === label).length >= LEAST_SHARE * NEIGHBOURS;
      });
    if (among.length === 0) return undefined;
    const [x, y] = [median(among.map(([across]) => across)), median(among.map(([, up]) => up))];
    const away = (place: readonly [number, number]) => Math.hypot(place[0] - x, place[1] - y);
    return among.reduce((best, place) => (away(place) < away(best) ? place : best));
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
