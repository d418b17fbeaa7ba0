import { type ScaleLinear, scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import type { WeightsSummary } from '../nn/sparsity.js';
import { isDrawable, significant } from './numbers.js';

/** Means over an epoch's examples, in nats. */
export interface LossTerms {
  /** The negative ELBO; of an autoencoder the reconstruction. */
  readonly loss: number;
  readonly reconstruction: number;
  /** 0 of an autoencoder. */
  readonly kl: number;
}

export interface EpochRecord {
  readonly epoch: number;
  readonly train: LossTerms;
  readonly validation?: LossTerms;
  /** Of an importance-weighted objective: its bound on the validation part, in nats. */
  readonly bound?: number;
  /** Latent dimensions that say something of the validation examples. */
  readonly activeUnits?: number;
  /** Of all stochastic layers. */
  readonly latentSize?: number;
  readonly weights?: WeightsSummary;
}

interface Series {
  readonly name: 'train' | 'validation';
  readonly points: readonly Point[];
}

interface Point {
  readonly epoch: number;
  readonly value: number;
}

const PANELS = [
  { term: 'loss', title: '−ELBO', text: 'Negative ELBO' },
  { term: 'reconstruction', title: 'Reconstruction', text: 'reconstruction' },
  { term: 'kl', title: 'KL divergence', text: 'KL divergence' },
] as const;

/** The curves that mean something for a model. */
export function curvesOf({ isDeterministic }: { readonly isDeterministic: boolean }): readonly (keyof LossTerms)[] {
  return isDeterministic ? ['reconstruction'] : PANELS.map(({ term }) => term);
}

const FULL_WIDTH = 960;
const HEIGHT = 330;
const MARGIN = 20;
const PANEL_GAP = 28;
const PANEL_WIDTH = (FULL_WIDTH - 2 * MARGIN - (PANELS.length - 1) * PANEL_GAP) / PANELS.length;
const AXIS_WIDTH = 44;
const PLOT_WIDTH = PANEL_WIDTH - AXIS_WIDTH;
const PLOT_TOP = 92;
const PLOT_HEIGHT = HEIGHT - PLOT_TOP - 52;
/** With more epochs than this, dots would cover the line. */
const MAX_DOTS = 40;

// Blue and orange stay apart for colour-blind readers and on both backgrounds (Okabe & Ito, 2008).
const STYLE = `
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #57606a; }
.title { font-size: 14px; font-weight: 600; fill: #1f2328; }
.background { fill: #ffffff; stroke: #d0d7de; }
.grid { stroke: #d8dee4; stroke-width: 1; shape-rendering: crispEdges; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.train.curve { stroke: #0072b2; } .train.dot { fill: #0072b2; }
.validation.curve { stroke: #d55e00; } .validation.dot { fill: #d55e00; }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1; }
.title { fill: #f0f6fc; }
.background { fill: #0d1117; stroke: #3d444d; }
.grid { stroke: #2a313c; }
.train.curve { stroke: #56b4e9; } .train.dot { fill: #56b4e9; }
.validation.curve { stroke: #f0883e; } .validation.dot { fill: #f0883e; }
}`;

/**
 * Draws loss, reconstruction and KL over the epochs as a self-contained SVG document, readable in light and dark.
 * Values that are not finite leave a gap; values far above the rest leave the panel at the top, so that one bad epoch
 * doesn't flatten the others. Each panel says so where it happens.
 * @param terms that are drawn
 */
export function trainingCurves(
  history: readonly EpochRecord[],
  terms: readonly (keyof LossTerms)[] = curvesOf({ isDeterministic: false }),
): string {
  const shown = PANELS.filter(({ term }) => terms.includes(term));
  const width = 2 * MARGIN + shown.length * (PANEL_WIDTH + PANEL_GAP) - PANEL_GAP;
  const epochs = history.map(({ epoch }) => epoch);
  const first = Math.min(...epochs);
  const last = Math.max(...epochs);
  // A lone epoch stands in the middle.
  const x = scaleLinear(first === last ? [first - 1, last + 1] : [first, last], [0, PLOT_WIDTH]);
  const xTicks = x.ticks(6).filter((tick) => Number.isInteger(tick) && tick >= first && tick <= last);
  const panels = shown.map(({ term, title }, index) => {
    const series: Series[] = [
      { name: 'train', points: history.map(({ epoch, train }) => ({ epoch, value: train[term] })) },
      {
        name: 'validation',
        points: history.flatMap(({ epoch, validation }) => (validation ? [{ epoch, value: validation[term] }] : [])),
      },
    ];
    const left = MARGIN + index * (PANEL_WIDTH + PANEL_GAP) + AXIS_WIDTH;
    return `<g transform="translate(${round(left)} ${PLOT_TOP})">${panel(title, series, x, xTicks)}</g>`;
  });
  const description =
    history.length === 0
      ? 'No epoch has been trained yet.'
      : `${listed(shown.map(({ text }) => text))} in nats, epochs ${first} to ${last}.`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${HEIGHT}" width="${width}" height="${HEIGHT}" role="img">
<title>Training curves</title>
<desc>${description}</desc>
<style>${STYLE}
</style>
<rect class="background" x="0.5" y="0.5" width="${width - 1}" height="${HEIGHT - 1}" rx="6"/>
${panels.join('\n')}
</svg>
`;
}

/** As a sentence begins: A, b and c. */
function listed(texts: readonly string[]): string {
  const text = texts.length > 1 ? `${texts.slice(0, -1).join(', ')} and ${texts.at(-1)}` : texts.join();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function panel(
  title: string,
  series: readonly Series[],
  x: ScaleLinear<number, number>,
  xTicks: readonly number[],
): string {
  const drawn = series.filter(({ points }) => points.length > 0);
  const values = drawn.flatMap(({ points }) => points.map(({ value }) => value)).filter(isDrawable);
  const heading = `<text class="title" x="${-AXIS_WIDTH}" y="-62">${title} (nats)</text>`;
  const axis = `<text x="${PLOT_WIDTH / 2}" y="${PLOT_HEIGHT + 36}" text-anchor="middle">epoch</text>`;
  if (values.length === 0) {
    const reason = drawn.length === 0 ? 'no epoch yet' : 'no finite value';
    const frame = `<path class="grid" d="M0,0V${PLOT_HEIGHT}H${round(PLOT_WIDTH)}" fill="none"/>`;
    return `${heading}${frame}${axis}<text x="${PLOT_WIDTH / 2}" y="${PLOT_HEIGHT / 2}" text-anchor="middle">${reason}</text>`;
  }

  const [low, high] = verticalRange(values);
  const y = scaleLinear([low, high], [PLOT_HEIGHT, 0]).nice(5);
  const [bottom, top] = y.domain() as [number, number];
  const format = y.tickFormat(5, tickSpecifier(Math.max(Math.abs(bottom), Math.abs(top))));
  const parts = [heading, legend(drawn)];
  for (const tick of y.ticks(5)) {
    const height = round(y(tick));
    parts.push(`<path class="grid" d="M0,${height}H${round(PLOT_WIDTH)}"/>`);
    parts.push(`<text x="-8" y="${height}" dy="0.35em" text-anchor="end">${tick === 0 ? '0' : format(tick)}</text>`);
  }
  for (const tick of xTicks) {
    parts.push(`<text x="${round(x(tick))}" y="${PLOT_HEIGHT + 18}" text-anchor="middle">${tick}</text>`);
  }
  parts.push(axis);

  // A nested viewport clips what leaves the axes without an identifier that could clash on a page with several pictures.
  parts.push(
    `<svg x="-4" y="-4" width="${round(PLOT_WIDTH + 8)}" height="${PLOT_HEIGHT + 8}" viewBox="-4 -4 ${round(PLOT_WIDTH + 8)} ${PLOT_HEIGHT + 8}">`,
  );
  const curve = line<Point>()
    .defined(({ value }) => isDrawable(value))
    .x(({ epoch }) => x(epoch))
    // Far outside, a coordinate would leave the fixed-point range of some renderers, which then drop the whole path.
    .y(({ value }) => Math.max(-10 * PLOT_HEIGHT, y(value)))
    .digits(1);
  for (const { name, points } of drawn) {
    parts.push(`<path class="${name} curve" d="${curve(points) ?? ''}"/>`);
    if (points.length > MAX_DOTS) continue;
    for (const { epoch, value } of points) {
      if (!isDrawable(value) || value > top || value < bottom) continue;
      parts.push(`<circle class="${name} dot" cx="${round(x(epoch))}" cy="${round(y(value))}" r="2.5"/>`);
    }
  }
  parts.push('</svg>');

  const above = values.filter((value) => value > top);
  const gaps = drawn.flatMap(({ points }) => points).length - values.length;
  const notes = [
    ...(above.length > 0 ? [`${above.length} above, up to ${significant(Math.max(...above))}`] : []),
    ...(gaps > 0 ? [`${gaps} not finite`] : []),
  ];
  parts.push(`<text x="${round(PLOT_WIDTH)}" y="-12" text-anchor="end">${notes.join(' · ')}</text>`);
  return parts.join('');
}

/** The name and the last value of each series. */
function legend(series: readonly Series[]): string {
  const width = PANEL_WIDTH / 2;
  return series
    .map(({ name, points }, index) => {
      const left = round(-AXIS_WIDTH + index * width);
      const value = points.at(-1)?.value ?? Number.NaN;
      return `<path class="${name} curve" d="M${left},-39h14"/><text x="${left + 20}" y="-35">${name} ${significant(value)}</text>`;
    })
    .join('');
}

/**
 * The values from the least to the largest, or to a little above the 90th percentile where the rest would take more than
 * three quarters of the height.
 */
function verticalRange(values: readonly number[]): [number, number] {
  const sorted = Float64Array.from(values).sort();
  const least = sorted[0] as number;
  const usual = sorted[Math.floor(0.9 * (sorted.length - 1))] as number;
  const largest = sorted[sorted.length - 1] as number;
  if (spans(least, usual) && largest - least > 4 * (usual - least)) return [least, usual + 1.5 * (usual - least)];
  if (spans(least, largest)) return [least, largest];
  const room = Math.max(Math.abs(least) * 0.1, 0.5);
  return [least - room, least + room];
}

/** Whether there are numbers enough between two for a scale; a rounding error apart, they are drawn as one. */
function spans(low: number, high: number): boolean {
  return high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-20);
}

/** Keeps tick labels as short as the room beside the axis: 250k and 2e-5 where plain numbers are longer. */
function tickSpecifier(largest: number): string | undefined {
  if (largest >= 1e5) return '~s';
  return largest < 1e-2 ? '~e' : undefined;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
