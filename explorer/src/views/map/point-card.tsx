import { cellText, columnsOf, type Model } from '../../model/model.js';
import { itemOf, type Points } from '../../model/points.js';
import { Picture } from '../../parts/picture.js';
import { nameOf } from './plane.js';
import type { Size } from './viewport.js';

export interface PointCardProps {
  readonly model: Model;
  readonly points: Points;
  readonly point: number;
  /** Of the point, in pixels of the plane. */
  readonly left: number;
  readonly top: number;
  readonly size: Size;
}

const COLUMNS_SHOWN = 6;

/** What a point stands for, beside it. */
export function PointCard({ model, points, point, left, top, size }: PointCardProps) {
  const values = itemOf(points, point, model);
  const side = left > size.width / 2 ? 'before' : 'after';
  const edge = top > size.height / 2 ? 'above' : 'below';
  return (
    <div class={`point-card ${side} ${edge}`} style={{ left: `${left}px`, top: `${top}px` }} aria-hidden="true">
      {model.input.kind === 'image' && values && <Picture values={values} input={model.input} label="" decorative />}
      {model.input.kind === 'vector' && values && (
        <dl>
          {columnsOf(model.input)
            .slice(0, COLUMNS_SHOWN)
            .map((column, i) => (
              <div key={column.name}>
                <dt>{column.name}</dt>
                <dd>{cellText(column, values[i] ?? Number.NaN)}</dd>
              </div>
            ))}
        </dl>
      )}
      <p>{nameOf(points, point)}</p>
    </div>
  );
}
