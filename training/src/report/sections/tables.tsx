import type { VNode } from 'preact';
import { extent, quantileSorted, standardDeviation } from 'simple-statistics';
import type { ServedModel } from '../../offline/served-model.js';
import { brief, fixed } from '../../pictures/numbers.js';
import { type Observations, readItems } from '../observations.js';
import { Histogram, shares } from './histogram.js';
import { NeedsData, type Section } from './section.js';
import { whole } from './summary.js';

// Rows of numbers: what images are shown as pictures for, these show as plots of each column.

const MOST_COLUMNS = 24;
const POINTS = 300;
const SAMPLES = 1000;
const BINS = 30;
const PLOT = 100;

/** A column's name: of the source where it has one. */
export function columnName({ manifest: { input } }: ServedModel, index: number): string {
  return (input.kind === 'vector' ? input.columns?.[index]?.name : undefined) ?? `column ${index}`;
}

const mayMiss = ({ manifest: { input } }: ServedModel) =>
  input.kind === 'vector' && input.columns?.some(({ missing }) => missing) === true;

/** Observed against expected values of test examples, a plot for each column. */
export async function tableReconstructions(model: ServedModel, observed: Observations): Promise<Section> {
  const { examples, means, dataset } = observed;
  const count = Math.min(POINTS, examples.count);
  const rows = await readItems(
    examples,
    Array.from({ length: count }, (_, i) => i),
  );
  const expected = await model.decode(means.slice(0, count * model.manifest.latent.size), examples.labels);
  const features = model.manifest.input.shape[0];
  return {
    id: 'reconstructions',
    title: 'Reconstructions',
    body: (
      <>
        <p>
          Expected values at the posterior mean (upwards) against observed ones (to the right) of the first{' '}
          {whole(count)} of {whole(dataset.test.count)} test examples of {dataset.name}. On the line both agree; R² is
          the share of the variance that the model explains.
          {mayMiss(model) && ' Rows without a value are left out of its plot.'}
          {features > MOST_COLUMNS && ` The first ${MOST_COLUMNS} of ${whole(features)} columns are shown.`}
        </p>
        <ul class="plots">
          {Array.from({ length: Math.min(MOST_COLUMNS, features) }, (_, j) => (
            <li key={columnName(model, j)}>
              <Scatter
                name={columnName(model, j)}
                points={rows
                  .map((row, i) => [row[j], expected[i][j]] as const)
                  .filter(([value]) => !Number.isNaN(value))}
              />
            </li>
          ))}
        </ul>
      </>
    ),
  };
}

function Scatter(props: { name: string; points: readonly (readonly [observed: number, expected: number])[] }): VNode {
  const { name } = props;
  const observed = props.points.map(([value]) => value);
  const expected = props.points.map(([, value]) => value);
  const [low, high] = observed.length === 0 ? [0, 0] : extent(observed);
  const place = (value: number) =>
    high > low ? Math.round(((value - low) / (high - low)) * PLOT * 10) / 10 : PLOT / 2;
  // What the model expects far outside of what was observed lies on the edge.
  const points = observed.map((value, i) => {
    const upwards = Math.min(PLOT + 4, Math.max(-4, place(expected[i])));
    return `M${place(value)},${(PLOT - upwards).toFixed(1)}h0`;
  });
  const explained = explainedShare(observed, expected);
  const text = explained === undefined ? 'constant' : `R² ${fixed(explained, 2)}`;
  return (
    <figure>
      <svg class="scatter" viewBox={`-8 -8 ${PLOT + 16} ${PLOT + 16}`} role="img" aria-label={`${name}: ${text}`}>
        <rect class="frame" x="-6" y="-6" width={PLOT + 12} height={PLOT + 12} />
        <path class="axis" d={`M0,${PLOT}L${PLOT},0`} />
        <path class="points" d={points.join('')} />
      </svg>
      <figcaption>
        <strong>{name}</strong> {text}
        <br />
        {brief(low)} to {brief(high)}
      </figcaption>
    </figure>
  );
}

/** 1 − mean squared error / variance; undefined where nothing varies. */
function explainedShare(observed: readonly number[], expected: readonly number[]): number | undefined {
  const mean = observed.reduce((sum, value) => sum + value, 0) / observed.length;
  const variance = observed.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const error = observed.reduce((sum, value, i) => sum + (value - expected[i]) ** 2, 0);
  return variance > 0 ? 1 - error / variance : undefined;
}

/** How each column of samples is distributed, beside the test examples' where there are some. */
export async function tableSamples(
  model: ServedModel,
  observed: Observations | undefined,
  seed: number,
): Promise<Section> {
  const latents = model.drawFromPrior(SAMPLES, seed);
  const features = model.manifest.input.shape[0];
  const samples = await model.decode(latents, model.drawClasses(SAMPLES, seed));
  const rows =
    observed === undefined
      ? undefined
      : await readItems(
          observed.examples,
          Array.from({ length: Math.min(SAMPLES, observed.examples.count) }, (_, i) => i),
        );
  const plots = Array.from({ length: Math.min(MOST_COLUMNS, features) }, (_, j) => {
    const drawn = samples.map((row) => row[j]);
    const seen = rows?.map((row) => row[j]).filter((value) => !Number.isNaN(value));
    return {
      name: columnName(model, j),
      drawn,
      seen,
      range: usualRange([...drawn, ...(seen ?? [])]),
    };
  });
  return {
    id: 'samples',
    title: 'Samples',
    body: (
      <>
        <p>
          Filled: expected values at {whole(SAMPLES)} draws from the prior with seed {seed}, without the noise of the
          likelihood, and so a little narrower than data.
          {rows !== undefined && ` Line: the first ${whole(rows.length)} test examples.`}
        </p>
        <ul class="plots wide">
          {plots.map(({ name, drawn, seen, range }) => (
            <li key={name}>
              <figure>
                <Histogram
                  label={`${name}: samples${seen === undefined ? '' : ' and test examples'}`}
                  range={range}
                  filled={shares(drawn, range, BINS)}
                  {...(seen !== undefined && { outlined: shares(seen, range, BINS) })}
                />
                <figcaption>
                  <strong>{name}</strong>
                </figcaption>
              </figure>
            </li>
          ))}
        </ul>
      </>
    ),
  };
}

/** Without the few values at either end that would leave the others a narrow place. */
function usualRange(values: readonly number[]): [number, number] {
  const sorted = Float64Array.from(values).sort();
  const [low, high] = [0.002, 0.998].map((p) => quantileSorted(Array.from(sorted), p));
  return low < high ? [low, high] : [low - 0.5, low + 0.5];
}

/** What each latent dimension moves: the change of every column along its range, in standard deviations. */
export function tableTraversals(
  effects: readonly { readonly name: string; readonly changes: readonly number[] }[],
  columns: readonly string[],
): VNode {
  if (effects.length === 0) return <NeedsData />;
  return (
    <div class="scroll">
      <table class="effects">
        <thead>
          <tr>
            <th scope="col">dimension</th>
            {columns.map((name) => (
              <th key={name} scope="col" class="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {effects.map(({ name, changes }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {changes.map((change, j) => (
                <td
                  key={columns[j]}
                  class={`number ${change < 0 ? 'negative' : 'positive'}`}
                  style={{ '--strength': `${Math.round(Math.min(1, Math.abs(change) / 3) * 60)}%` }}
                >
                  {fixed(change, 1)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Standard deviation of each column of rows, 1 where nothing varies. */
export function scales(rows: readonly Float32Array[]): number[] {
  return Array.from(rows[0] ?? [], (_, j) => {
    const present = rows.map((row) => row[j]).filter((value) => !Number.isNaN(value));
    const deviation = present.length === 0 ? 0 : standardDeviation(present);
    return deviation > 0 ? deviation : 1;
  });
}
