import { curlOf } from '../../api/curl.js';
import type { ModelSummary } from '../../api/service.js';
import type { ViewProps } from '../../explorer.js';
import { addressWith } from '../../location.js';
import { dimensionName, type Model, percent, significant } from '../../model/model.js';
import { Command } from '../../parts/command.js';
import { Link } from '../../parts/link.js';
import { FilePicture } from './file-picture.js';
import { TrainingRecord } from './training-record.js';

const CURVES = 'training-curves.svg';

/** Every loaded version, and all that is known of one. */
export function ModelsView({ model, models, sent }: ViewProps) {
  const { details } = model;
  return (
    <>
      <p class="lede">What is loaded, how it was made, and how good it is.</p>
      <ul class="cards">
        {models.map((other) => (
          <li key={`${other.name}/${other.version}`}>
            <ModelCard summary={other} isChosen={other.name === model.name && other.version === model.version} />
          </li>
        ))}
      </ul>
      <section class="about" aria-label={`${model.name}, version ${model.version}`}>
        <h2>
          {model.name} <small>version {model.version}</small>
        </h2>
        <p>{details.description}</p>
        <dl class="facts">
          <Fact name="Takes" value={inputWords(model)} />
          <Fact
            name="Latent dimensions"
            value={`${model.latentSize}, of which ${details.latent.active_units} active`}
          />
          <Fact name="Family" value={details.family} />
          <Fact name="Likelihood" value={details.likelihood.kind} />
          <Fact name="Prior" value={details.prior.kind} />
          {model.classes && <Fact name="Classes" value={model.classes.join(', ')} />}
          <Fact name="Calibrated on" value={`${details.calibration.size} items: ${details.calibration.dataset}`} />
          <Fact name="Drift" value={driftWords(model)} />
        </dl>
      </section>
      <Metrics model={model} />
      <Latents model={model} />
      <section aria-label="Training">
        <h2>Training</h2>
        {details.files.some(({ name }) => name === CURVES) && (
          <FilePicture model={model} file={CURVES} label={`Training curves of ${model.name}`} class="curves" />
        )}
        <TrainingRecord record={details.training} />
      </section>
      <section aria-label="Files">
        <h2>Files</h2>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard. */}
        <div class="wide-table" tabIndex={0}>
          <table class="files">
            <thead>
              <tr>
                <th scope="col">File</th>
                <th scope="col" class="number">
                  Bytes
                </th>
                <th scope="col">SHA-256</th>
              </tr>
            </thead>
            <tbody>
              {details.files.map(({ name, bytes, sha256 }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td class="number">{bytes.toLocaleString('en')}</td>
                  <td>
                    <code>{sha256}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </section>
      <Command text={curlOf(sent)} />
    </>
  );
}

function Fact({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function ModelCard({ summary, isChosen }: { readonly summary: ModelSummary; readonly isChosen: boolean }) {
  const { name, version, description, is_default, latent, input } = summary;
  return (
    <Link href={addressWith({ model: name, version })} class={`card${isChosen ? ' chosen' : ''}`} current={isChosen}>
      {input.kind === 'image' && <FilePicture model={summary} file="preview.png" label="" class="preview" />}
      <strong>
        {name} <small>{version}</small>
        {is_default && <span class="tag">default</span>}
      </strong>
      <span class="description">{description}</span>
      <span class="count">
        {input.shape.join(' × ')} → {latent.size}
      </span>
    </Link>
  );
}

function inputWords({ input }: Model): string {
  if (input.kind === 'vector') return `rows of ${input.shape[0]} columns`;
  const [, height, width] = input.shape;
  return `${input.colour === 'grey' ? 'grey' : 'colour'} images of ${width} × ${height} pixels`;
}

function driftWords({ details: { drift } }: Model): string {
  if (drift === undefined) return 'not known until 20 items were scored';
  const verdict = drift.p_value < 0.001 ? 'inputs have drifted' : 'no sign of drift';
  return `${verdict}: distance ${significant(drift.distance, 2)} over the last ${drift.items} items, p = ${significant(drift.p_value, 2)}`;
}

function Metrics({ model }: { readonly model: Model }) {
  return (
    <section aria-label="Metrics">
      <h2>Metrics</h2>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard. */}
      <div class="wide-table" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Metric</th>
              <th scope="col" class="number">
                Value
              </th>
              <th scope="col">Measured on</th>
              <th scope="col">Protocol</th>
            </tr>
          </thead>
          <tbody>
            {Object.entries(model.details.metrics).map(([name, { value, unit, split, examples, protocol }]) => (
              <tr key={name}>
                <th scope="row">{name.replaceAll('_', ' ')}</th>
                <td class="number">
                  {significant(value)} {unit}
                </td>
                <td>
                  {examples.toLocaleString('en')} of {split}
                </td>
                <td class="long">{protocol}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** The KL divergence of each dimension, the most telling first. */
function Latents({ model }: { readonly model: Model }) {
  const all = model.details.latent.kl_per_dimension.map((kl, index) => ({ kl, index })).toSorted((a, b) => b.kl - a.kl);
  const total = all.reduce((sum, { kl }) => sum + kl, 0);
  const most = all[0]?.kl ?? 1;
  return (
    <section aria-label="Latent structure">
      <h2>Latent structure</h2>
      <p>
        The latent tells {significant(total, 3)} nats of an item on average; this is how they spread over its
        dimensions.
      </p>
      <ol class="kl-list">
        {all.map(({ kl, index }) => (
          <li key={index} class={kl < 0.01 ? 'idle' : ''}>
            <span>{dimensionName(index)}</span>
            <span class="amount" style={{ width: `${Math.max(0.3, (72 * kl) / Math.max(most, 1e-9))}%` }} />
            <span class="count">{kl < 0.01 ? 'idle' : `${kl.toFixed(2)} nats · ${percent(kl / total)}`}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
