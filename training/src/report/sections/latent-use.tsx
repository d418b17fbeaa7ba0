import type { VNode } from 'preact';
import { fixed, significant } from '../../pictures/numbers.js';
import type { Dimension } from '../dimensions.js';
import { NeedsData, type Section } from './section.js';

/** Dimensions that are listed at the most. */
const MOST_BARS = 96;
/** Rows and columns of the heat map at the most. */
const MOST_CELLS = 48;
/** Steps of strength that the heat map tells apart. */
const STRENGTHS = 12;
/** Height of the names of the rows, in cells, at the most; a share of the picture where cells are large. */
const NAME_HEIGHT = 0.72;
const NAME_SHARE = 0.035;

/** How much each latent dimension tells, the most first. */
export function klSection(dimensions: readonly Dimension[]): Section {
  const shown = dimensions.slice(0, MOST_BARS);
  const largest = Math.max(...shown.map(({ kl }) => kl), 1e-9);
  const total = dimensions.reduce((sum, { kl }) => sum + kl, 0);
  const active = dimensions.filter(({ isActive }) => isActive).length;
  return {
    id: 'kl',
    title: 'What each latent dimension tells',
    body: (
      <>
        <p>
          Mean KL divergence of the posterior from the prior, in nats, over the validation part: {significant(total)}{' '}
          nats in {dimensions.length} dimensions, {active} of them active. Inactive ones are hollow: the variance of
          their posterior mean is at most 0.01.
          {shown.length < dimensions.length && ` The first ${shown.length} are shown.`}
        </p>
        <ol class="bars">
          {shown.map(({ index, kl, isActive }) => (
            <li key={index} class={isActive ? 'active' : 'inactive'}>
              <span class="name">z{index}</span>
              <span class="track">
                <span class="bar" style={{ width: `${(100 * Math.max(0, kl)) / largest}%` }} />
              </span>
              <span class="value">
                {fixed(kl, 3)}
                {!isActive && <span class="hidden"> inactive</span>}
              </span>
            </li>
          ))}
        </ol>
      </>
    ),
  };
}

/** Whether the latent dimensions say different things, and the posteriors together fill the prior. */
export function aggregateSection(
  dimensions: readonly Dimension[],
  aggregate: { readonly covariance: Float64Array } | undefined,
): Section {
  return {
    id: 'aggregate',
    title: 'Aggregate posterior',
    body:
      aggregate === undefined ? (
        <NeedsData />
      ) : (
        <Correlations dimensions={dimensions} covariance={aggregate.covariance} />
      ),
  };
}

function Correlations({
  dimensions,
  covariance,
}: {
  dimensions: readonly Dimension[];
  covariance: Float64Array;
}): VNode {
  const at = (i: number, j: number) => covariance[i * dimensions.length + j];
  const shown = dimensions.slice(0, MOST_CELLS);
  const correlation = (i: number, j: number) => at(i, j) / Math.sqrt(at(i, i) * at(j, j));
  const pairs = dimensions.flatMap(({ index: i, isActive }, row) =>
    dimensions
      .slice(0, row)
      .flatMap(({ index: j, isActive: isOther }) => (isActive && isOther ? [{ i, j, value: correlation(i, j) }] : [])),
  );
  const strongest = pairs.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 5);
  const variances = dimensions.map(({ index }) => at(index, index));

  // One path for each sign and strength: hundreds of cells in a few kilobytes.
  const cells = new Map<string, string>();
  shown.forEach(({ index: i }, row) => {
    shown.forEach(({ index: j }, column) => {
      const value = correlation(i, j);
      const strength = Math.round(Math.min(1, Math.abs(value)) * STRENGTHS);
      if (!(strength > 0)) return;
      const key = `${value > 0 ? 'positive' : 'negative'} ${strength}`;
      cells.set(key, `${cells.get(key) ?? ''}M${column},${row}h1v1h-1z`);
    });
  });
  const size = shown.length;
  const nameHeight = Math.min(NAME_HEIGHT, NAME_SHARE * size);
  const nameWidth = 3.2 * nameHeight;
  const label = `Correlations of ${size} latent dimensions, sorted by KL divergence. ${
    strongest.length === 0
      ? ''
      : `The strongest is ${signed(strongest[0].value)}, of z${strongest[0].i} and z${strongest[0].j}.`
  }`;
  return (
    <div class="beside">
      <figure>
        <svg
          class="heat"
          viewBox={`-${nameWidth} -0.1 ${size + nameWidth + 0.1} ${size + 0.2}`}
          role="img"
          aria-label={label}
        >
          <rect class="frame" width={size} height={size} />
          {shown.map(({ index }, row) => (
            <text
              key={index}
              x={-0.4 * nameHeight}
              y={row + 0.5 + 0.35 * nameHeight}
              style={{ fontSize: `${nameHeight}px` }}
            >
              z{index}
            </text>
          ))}
          {[...cells].map(([key, d]) => {
            const [sign, strength] = key.split(' ');
            return <path key={key} class={sign} fill-opacity={(Number(strength) / STRENGTHS).toFixed(2)} d={d} />;
          })}
        </svg>
        <figcaption>
          <span class="scale" aria-hidden="true">
            −1 <span class="ramp" /> 1
          </span>{' '}
          Correlations under q(z), dimensions in the order of the list above.
        </figcaption>
      </figure>
      <div>
        <p>
          q(z) is the mixture of the posteriors of the test examples. Where it fits a standard normal prior, its
          variances are near 1 and its correlations near 0.
        </p>
        <dl class="facts">
          <div>
            <dt>Variances</dt>
            <dd>
              {significant(Math.min(...variances))} to {significant(Math.max(...variances))}
            </dd>
          </div>
          {strongest.length > 0 && (
            <div>
              <dt>Strongest correlations of active dimensions</dt>
              <dd>
                <ul class="plain">
                  {strongest.map(({ i, j, value }) => (
                    <li key={`${i} ${j}`}>
                      z{i}, z{j}: {signed(value)}
                    </li>
                  ))}
                </ul>
              </dd>
            </div>
          )}
        </dl>
      </div>
    </div>
  );
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
}
