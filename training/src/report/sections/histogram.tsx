import { scaleLinear } from 'd3-scale';
import type { VNode } from 'preact';

const WIDTH = 640;
const PLOT = { left: 8, right: 632, bottom: 210 } as const;
const HEIGHT = 250;
const LINE_HEIGHT = 24;

export interface Mark {
  readonly at: number;
  readonly text: string;
}

/**
 * Shares of values in bins of equal width.
 * @returns a share of all values for each bin; what lies outside of the range is in none
 */
export function shares(values: ArrayLike<number>, [low, high]: readonly [number, number], bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (let i = 0; i < values.length; i++) {
    const bin = Math.floor((bins * (values[i] - low)) / (high - low));
    // The highest value belongs to the last bin.
    if (bin >= 0 && values[i] <= high) counts[Math.min(bin, bins - 1)]++;
  }
  return counts.map((count) => count / Math.max(1, values.length));
}

/** Two distributions over one axis, the first filled, the second (where there is one) a line, with marked values. */
export function Histogram(properties: {
  readonly range: readonly [number, number];
  readonly filled: readonly number[];
  readonly outlined?: readonly number[];
  readonly marks?: readonly Mark[];
  readonly label: string;
}): VNode {
  const { range, filled, outlined, marks = [], label } = properties;
  const top = 12 + LINE_HEIGHT * marks.length;
  const x = scaleLinear(range, [PLOT.left, PLOT.right]);
  const y = scaleLinear([0, Math.max(...filled, ...(outlined ?? []), 1e-9)], [PLOT.bottom, top]);
  const width = (range[1] - range[0]) / filled.length;
  const steps = (heights: readonly number[]) =>
    heights.map((share, i) => `V${y(share).toFixed(1)}H${x(range[0] + (i + 1) * width).toFixed(1)}`).join('');
  return (
    <svg class="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      <path class="filled" d={`M${PLOT.left},${PLOT.bottom}${steps(filled)}V${PLOT.bottom}z`} />
      {outlined !== undefined && (
        <path class="outlined" d={`M${PLOT.left},${PLOT.bottom}${steps(outlined)}V${PLOT.bottom}`} />
      )}
      <path class="axis" d={`M${PLOT.left},${PLOT.bottom}H${PLOT.right}`} />
      {x.ticks(6).map((tick) => (
        <text key={tick} class="tick" x={x(tick).toFixed(1)} y={PLOT.bottom + 26}>
          {String(tick).replace('-', '−')}
        </text>
      ))}
      {marks
        .filter(({ at }) => at >= range[0] && at <= range[1])
        .map(({ at, text }, i) => (
          <g key={text}>
            <path class="mark" d={`M${x(at).toFixed(1)},${8 + LINE_HEIGHT * i}V${PLOT.bottom}`} />
            {/* The next line begins below, so that it does not cross these words. */}
            <text class="mark-text" x={(x(at) + 6).toFixed(1)} y={LINE_HEIGHT * (i + 1)}>
              {text}
            </text>
          </g>
        ))}
    </svg>
  );
}
