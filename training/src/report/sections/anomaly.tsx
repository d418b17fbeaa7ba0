import type { Calibration } from '@elbo/models';
import type { VNode } from 'preact';
import { joined } from '../../evaluation/batches.js';
import type { ServedModel } from '../../offline/served-model.js';
import { float32 } from '../../onnx/tensor.js';
import type { ImageForm } from '../../pictures/image-form.js';
import { brief, significant } from '../../pictures/numbers.js';
import { picture } from '../images.js';
import { type Observations, readItems } from '../observations.js';
import { Histogram, shares } from './histogram.js';
import { labelled, Picture, tileWidth } from './pictures.js';
import type { Section } from './section.js';
import { whole } from './summary.js';
import { columnName } from './tables.js';

const BINS = 48;
/** Examples at either end. */
const SHOWN = 12;
/** Columns that say most about a row's strangeness. */
const WORST_COLUMNS = 3;

/** How held-out data score, where the thresholds lie, and which test examples are the strangest. */
export async function anomalySection(
  model: ServedModel,
  calibrationScores: Float32Array,
  observed: Observations | undefined,
  form: ImageForm | undefined,
): Promise<Section> {
  const { calibration } = model.manifest;
  return {
    id: 'anomaly',
    title: 'Anomaly score',
    body: (
      <>
        <Scores calibration={calibration} scores={calibrationScores} observed={observed} />
        {observed !== undefined && (await extremes(model, observed, form))}
      </>
    ),
  };
}

function Scores(properties: {
  calibration: Calibration;
  scores: Float32Array;
  observed: Observations | undefined;
}): VNode {
  const { calibration, scores, observed } = properties;
  const thresholds = [...calibration.thresholds].sort((a, b) => a.threshold - b.threshold);
  const least = Math.min(scores[0], 0);
  const last = thresholds[thresholds.length - 1].threshold;
  // A few scores far out, or those of other data, would leave the rest a narrow place.
  const sorted = observed?.scores.slice().sort() ?? scores;
  const usual = sorted[Math.floor(0.99 * (sorted.length - 1))];
  const range: [number, number] = [least, Math.max(1.35 * last, Math.min(usual, 4 * last), least + 1e-6)];
  const beyond = (values: Float32Array) => values.reduce((count, score) => count + (score > range[1] ? 1 : 0), 0);
  const outside = beyond(scores) + (observed === undefined ? 0 : beyond(observed.scores));
  const flagged = observed?.pValues.reduce(
    (count, p) => count + (p <= calibration.default_false_positive_rate ? 1 : 0),
    0,
  );
  return (
    <>
      <p>
        Filled: {whole(scores.length)} held-out scores ({calibration.dataset}), which the p-values are read from.
        {observed !== undefined && ` Line: ${whole(observed.scores.length)} test examples of ${observed.dataset.name}.`}{' '}
        A score beyond a threshold is called anomalous at its false-positive rate.
        {outside > 0 &&
          ` ${outside === 1 ? 'One score lies' : `${whole(outside)} scores lie`} to the right of the picture.`}
      </p>
      <Histogram
        label={`Distribution of the anomaly score; thresholds at ${thresholds.map(({ threshold }) => significant(threshold)).join(', ')}`}
        range={range}
        filled={shares(scores, range, BINS)}
        {...(observed !== undefined && { outlined: shares(observed.scores, range, BINS) })}
        marks={thresholds.map(({ threshold, false_positive_rate: rate }) => ({
          at: threshold,
          text: `${Number((100 * rate).toPrecision(3))}\u00a0%: ${significant(threshold)}`,
        }))}
      />
      {observed !== undefined && flagged !== undefined && (
        <p>
          Of the test examples, {((100 * flagged) / observed.scores.length).toFixed(2)}&nbsp;% are called anomalous at
          the default false-positive rate of {Number((100 * calibration.default_false_positive_rate).toPrecision(3))}
          &nbsp;%.
        </p>
      )}
    </>
  );
}

async function extremes(model: ServedModel, observed: Observations, form: ImageForm | undefined): Promise<VNode> {
  const { scores } = observed;
  const order = Array.from(scores, (_, i) => i).sort((a, b) => scores[b] - scores[a]);
  const most = order.slice(0, SHOWN);
  const least = order.slice(-SHOWN).reverse();
  const list = async (indices: readonly number[]) =>
    form === undefined ? rowsOf(model, observed, indices) : imagesOf(observed, indices, form);
  return (
    <>
      <h3>Most anomalous test examples</h3>
      {await list(most)}
      <h3>Least anomalous test examples</h3>
      {await list(least)}
    </>
  );
}

async function imagesOf(
  { examples, scores, pValues }: Observations,
  indices: readonly number[],
  form: ImageForm,
): Promise<VNode> {
  const items = await readItems(examples, indices);
  const images = await Promise.all(items.map((item) => picture(form, [item])));
  return (
    <ul class="tiled captioned" style={{ '--tile': `${Math.max(72, tileWidth(form))}px` }}>
      {indices.map((example, i) => (
        <li key={example}>
          <Picture image={images[i]} alt={`Test example ${example}${labelled(examples.labels?.[example])}`} />
          <span>{significant(scores[example])}</span>
          <span>p {pText(pValues[example])}</span>
        </li>
      ))}
    </ul>
  );
}

/** Rows of numbers: the columns that the model expected otherwise. */
async function rowsOf(model: ServedModel, observed: Observations, indices: readonly number[]): Promise<VNode> {
  const { examples, scores, pValues, means } = observed;
  const { size } = model.manifest.latent;
  const items = await readItems(examples, indices);
  const latents = new Float32Array(indices.length * size);
  for (const [i, example] of indices.entries()) {
    latents.set(means.subarray(example * size, (example + 1) * size), i * size);
  }
  const labels = indices.map((example) => examples.labels?.[example] ?? 0);
  const expected = await model.decode(latents, labels);
  const features = items[0].length;
  const errorMaps = await model.errorMaps({
    x: float32(joined(items), [items.length, features]),
    ...model.labelFeed(labels),
  });
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">test example</th>
            <th scope="col" class="number">
              score
            </th>
            <th scope="col" class="number">
              p-value
            </th>
            <th scope="col">observed instead of expected, where the error is largest</th>
          </tr>
        </thead>
        <tbody>
          {indices.map((example, i) => {
            const error = errorMaps.subarray(i * features, (i + 1) * features);
            const worst = Array.from(error, (_, j) => j)
              .sort((a, b) => error[b] - error[a])
              .slice(0, WORST_COLUMNS);
            return (
              <tr key={example}>
                <th scope="row">
                  {example}
                  {labelled(examples.labels?.[example])}
                </th>
                <td class="number">{significant(scores[example])}</td>
                <td class="number">{pText(pValues[example])}</td>
                <td>
                  {worst
                    .map((j) => `${columnName(model, j)}: ${observedText(items[i][j])} (${brief(expected[i][j])})`)
                    .join(', ')}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

export function pText(p: number): string {
  if (p < 1e-4) return p.toExponential(1).replace('-', '−');
  return p.toFixed(p < 0.01 ? 4 : 3);
}

const observedText = (value: number) => (Number.isNaN(value) ? 'missing' : brief(value));
