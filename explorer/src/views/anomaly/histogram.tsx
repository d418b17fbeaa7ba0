import { useMemo } from 'preact/hooks';
import { significant } from '../../model/model.js';

export interface HistogramProps {
  /** Held-out scores in ascending order. */
  readonly scores: Float32Array;
  readonly threshold: number;
  readonly score: number | undefined;
}

const BINS = 56;
const WIDTH = 640;
const HEIGHT = 180;
const BASE = 150;
/** Scores farther out than this many times the largest held-out one stand at the edge, with an arrow. */
const FARTHEST = 1.25;

/** Where a score lies among those of held-out normal items. */
export function Histogram({ scores, threshold, score }: HistogramProps) {
  const largest = scores.at(-1) ?? 1;
  const high = Math.max(largest, threshold) * FARTHEST;
  const low = Math.min(0, scores[0] ?? 0);
  const bars = useMemo(() => {
    const counts = Array<number>(BINS).fill(0);
    for (const value of scores) {
      const bin = Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS));
      counts[bin] = (counts[bin] ?? 0) + 1;
    }
    return counts;
  }, [scores, low, high]);
  const most = Math.max(...bars, 1);
  const at = (value: number) => Math.max(0, Math.min(1, (value - low) / (high - low))) * WIDTH;
  const width = WIDTH / BINS;
  const isBeyond = score !== undefined && score > high;
  const words = `${scores.length} held-out scores from ${significant(scores[0] ?? 0, 3)} to ${significant(largest, 3)}; the threshold is ${significant(threshold, 3)}${score === undefined ? '' : `, the score of this item ${significant(score, 3)}`}.`;
  return (
    <figure class="histogram">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={words}>
        <rect class="beyond" x={at(threshold)} y="18" width={WIDTH - at(threshold)} height={BASE - 18} />
        {bars.map((count, i) => {
          // The root, so that the few in the tail, which decide, are seen.
          const height = Math.sqrt(count / most) * (BASE - 34);
          return (
            <rect
              key={i}
              class={(i + 0.5) * width > at(threshold) ? 'bar over' : 'bar'}
              x={i * width + 0.5}
              y={BASE - height}
              width={width - 1}
              height={height}
            />
          );
        })}
        <line class="base" x1="0" x2={WIDTH} y1={BASE} y2={BASE} />
        <line class="threshold" x1={at(threshold)} x2={at(threshold)} y1="18" y2={BASE + 6} />
        <text
          class="threshold-text"
          x={at(threshold)}
          y={HEIGHT - 6}
          text-anchor={at(threshold) > WIDTH - 60 ? 'end' : 'middle'}
        >
          threshold {significant(threshold, 3)}
        </text>
        {score !== undefined && (
          <g class="score" transform={`translate(${at(score)} 0)`}>
            <line y1="22" y2={BASE} />
            <circle cy={BASE} r="5" />
            <text y="13" text-anchor={at(score) > WIDTH - 90 ? 'end' : at(score) < 60 ? 'start' : 'middle'}>
              {isBeyond ? `score ${significant(score, 3)}, far beyond →` : `score ${significant(score, 3)}`}
            </text>
          </g>
        )}
      </svg>
      <figcaption>Scores of {scores.length} held-out normal items; heights are square roots of counts.</figcaption>
    </figure>
  );
}
