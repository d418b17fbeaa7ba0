import type { Manifest } from '@elbo/models';
import type { VNode } from 'preact';
import { duration, significant } from '../../pictures/numbers.js';
import type { Section } from './section.js';

/** What the manifest says: the first thing that a reader wants to know. */
export function Summary({ manifest, parameters }: { manifest: Manifest; parameters: number }): VNode {
  const { input, latent, training, metrics, files } = manifest;
  const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
  // An autoencoder has a reconstruction alone.
  const measure = Object.hasOwn(metrics, 'test_negative_elbo') ? 'test_negative_elbo' : 'test_reconstruction';
  const highlights = ([measure, 'test_negative_log_likelihood'] as const).flatMap((name) => {
    const metric = Object.hasOwn(metrics, name) ? metrics[name] : undefined;
    return metric === undefined
      ? []
      : [{ value: significant(metric.value), text: [readable(name), metric.unit].filter(Boolean).join(', ') }];
  });
  const tiles = [
    ...highlights,
    { value: `${latent.active_units} of ${latent.size}`, text: 'latent dimensions active' },
    { value: whole(parameters), text: 'parameters' },
    { value: size(bytes), text: 'in all files' },
  ];
  const facts: readonly (readonly [string, string])[] = [
    ['Family', manifest.family],
    ['Likelihood', manifest.likelihood.kind],
    ['Prior', manifest.prior.kind],
    [
      'Input',
      `${input.kind}, ${input.shape.join(' × ')}, values from ${number(input.value_range[0])} to ${number(input.value_range[1])}`,
    ],
    ['Latent space', `${latent.size} dimensions, ${latent.active_units} of them active`],
    [
      'Trained on',
      `${training.dataset.name}: ${whole(training.dataset.train_examples)} examples, ${whole(training.dataset.validation_examples)} more to validate`,
    ],
    [
      'Training',
      `${whole(training.epochs)} epochs, ${whole(training.steps)} steps${training.skipped_steps ? ` (${whole(training.skipped_steps)} skipped)` : ''} in ${duration(training.seconds)}, seed ${training.seed}`,
    ],
    [
      'Engine',
      [training.engine, training.device, `${training.threads} ${training.threads === 1 ? 'thread' : 'threads'}`]
        .filter((part) => part !== undefined)
        .join(', '),
    ],
    ['Started', training.started_at],
  ];
  return (
    <>
      <ul class="tiles">
        {tiles.map(({ value, text }) => (
          <li key={text}>
            <strong>{value}</strong> {text}
          </li>
        ))}
      </ul>
      <dl class="facts">
        {facts.map(([term, fact]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{fact}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

export function metricsSection({ metrics }: Manifest): Section {
  const rows = Object.entries(metrics);
  return {
    id: 'metrics',
    title: 'Metrics',
    body:
      rows.length === 0 ? (
        <p class="absent">The manifest records none.</p>
      ) : (
        <div class="scroll">
          <table class="stacked">
            <thead>
              <tr>
                <th scope="col">metric</th>
                <th scope="col" class="number">
                  value
                </th>
                <th scope="col">unit</th>
                <th scope="col" class="number">
                  examples
                </th>
                <th scope="col">protocol</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(([name, { value, unit, examples, protocol }]) => (
                <tr key={name}>
                  <th scope="row">{readable(name)}</th>
                  <td class="number">{Number.isInteger(value) ? whole(value) : significant(value)}</td>
                  <td class="nowrap">{unit}</td>
                  <td class="number" data-unit="examples">
                    {whole(examples)}
                  </td>
                  <td>{protocol}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ),
  };
}

/** How to get the same model again, and what it consists of. */
export function recordSection(manifest: Manifest, command: string | undefined): Section {
  const { training, files } = manifest;
  return {
    id: 'record',
    title: 'Make it again, check it',
    body: (
      <>
        {command === undefined ? (
          <p>The recorded configuration is none that this version of Elbo trains; it stands below.</p>
        ) : (
          <>
            <p>The same data, seed, engine and number of threads give the same weights:</p>
            <div class="copyable">
              <pre class="command">
                <code>{command}</code>
              </pre>
            </div>
          </>
        )}
        <p>
          SHA-256 of the training examples: <code class="hash">{training.dataset.sha256}</code>
        </p>
        <details>
          <summary>The whole configuration</summary>
          <pre>
            <code>{JSON.stringify(training.configuration, null, 2)}</code>
          </pre>
        </details>
        <div class="scroll">
          <table class="stacked">
            <thead>
              <tr>
                <th scope="col">file</th>
                <th scope="col" class="number">
                  size
                </th>
                <th scope="col">SHA-256</th>
              </tr>
            </thead>
            <tbody>
              {Object.entries(files).map(([file, { bytes, sha256 }]) => (
                <tr key={file}>
                  <th scope="row">{file}</th>
                  <td class="number">{size(bytes)}</td>
                  <td>
                    <code class="hash">{sha256}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </>
    ),
  };
}

/** The curves as training drew them; inside an <img> nothing of a hostile file can run or load. */
export function curvesSection(svg: Uint8Array | undefined): Section {
  return {
    id: 'curves',
    title: 'Training curves',
    body:
      svg === undefined ? (
        <p class="absent">The version holds no training-curves.svg.</p>
      ) : (
        <div class="scroll">
          <img
            class="curves"
            src={`data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}`}
            height="330"
            alt="The terms of the loss in nats over the epochs, of the training and the validation part"
          />
        </div>
      ),
  };
}

function readable(metric: string): string {
  return metric
    .replaceAll('_', ' ')
    .replace('negative elbo', '−ELBO')
    .replace('negative log likelihood', '−log-likelihood')
    .replace(/\bkl\b/, 'KL')
    .replace(/\bmig\b/, 'MIG')
    .replace(/\bknn\b/, 'kNN');
}

export function whole(value: number): string {
  return value.toLocaleString('en');
}

function number(value: number): string {
  return String(value).replace('-', '−');
}

function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
