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

/** Names where most points of each class are, so that nobody need tell ten colours apart. */
export function ClassNames({ points, projection, view, hidden }: ClassNamesProps) {
  const middles = useMemo(() => middlesOf(points, projection.places), [points, projection]);
  if (points.labelNames.length > MOST_NAMES) return null;
  return (
    <g class="class-names">
      {middles.map((middle, label) => {
        if (middle === undefined || hidden.has(label)) return null;
        const [left, top] = view.toPage(...middle);
        return (
          <text key={points.labelNames[label]} x={left} y={top}>
            {points.labelNames[label]}
          </text>
        );
      })}
    </g>
  );
}

/** Of each class the point nearest to its median: a median alone may lie between two clusters. */
function middlesOf({ labels, labelNames, count }: Points, places: Float32Array): ([number, number] | undefined)[] {
  const members = labelNames.map((): number[] => []);
  for (let point = 0; point < count; point++) members[labels?.[point] ?? -1]?.push(point);
  return members.map((own) => {
    if (own.length === 0) return undefined;
    const x = median(own.map((point) => places[2 * point] ?? 0));
    const y = median(own.map((point) => places[2 * point + 1] ?? 0));
    const away = (point: number) => Math.hypot((places[2 * point] ?? 0) - x, (places[2 * point + 1] ?? 0) - y);
    const nearest = own.reduce((best, point) => (away(point) < away(best) ? point : best));
    return [places[2 * nearest] ?? 0, places[2 * nearest + 1] ?? 0];
  });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
