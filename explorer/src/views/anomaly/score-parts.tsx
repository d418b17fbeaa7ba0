import { useState } from 'preact/hooks';
import { type AnomalyScore, answered, service } from '../../api/service.js';
import { useAnswer } from '../../api/use-answer.js';
import { inputOfItem } from '../../model/given-input.js';
import { type Model, significant } from '../../model/model.js';
import { usePoints } from '../../model/use-points.js';
import { TroubleNotice } from '../../parts/trouble.js';
import { componentWords } from './components.js';

export interface ComponentsProps {
  readonly model: Model;
  readonly score: AnomalyScore;
}

const COMPARED = 48;

/** What a score is made of, each on a scale of its own where reference items have been scored to compare. */
export function Components({ model, score }: ComponentsProps) {
  const [compares, setCompares] = useState(false);
  const points = usePoints(model, compares);
  const sheet = points.value?.sheet.value;
  const isThere = points.value !== undefined && (model.input.kind === 'vector' || sheet !== undefined);
  const others = useAnswer(isThere ? 'others' : undefined, async (signal) => {
    if (points.value === undefined) return [];
    const { count, labels } = points.value;
    const items = Array.from({ length: Math.min(COMPARED, count) }, (_, i) =>
      Math.floor((i * count) / Math.min(COMPARED, count)),
    );
    const inputs = items.map((item) => points.value && inputOfItem(model, points.value, item));
    const { value } = await answered(signal, (options) =>
      service.POST('/anomaly-score', {
        params: { query: { model: model.name, version: model.version, explain: 0 } },
        body: {
          ...(inputs[0]?.body.rows === undefined
            ? { inputs: inputs.flatMap((input) => input?.body.inputs ?? []) }
            : { rows: inputs.flatMap((input) => input?.body.rows ?? []) }),
          ...(model.classes && { labels: items.map((item) => labels?.[item] ?? 0) }),
        },
        ...options,
      }),
    );
    return value.scores;
  });
  const { scored } = model.details.scorer;
  const counts = (name: string) => scored?.includes(name) ?? true;
  const names = Object.keys(score.components).toSorted((a, b) => Number(counts(b)) - Number(counts(a)));
  return (
    <section class="components" aria-label="Components">
      <header>
        <h2>What the score is made of</h2>
        {model.details.reference?.items !== undefined && !compares && (
          <button type="button" onClick={() => setCompares(true)} title="They count as scored items of the service">
            Compare with {Math.min(COMPARED, model.details.reference.count)} reference items
          </button>
        )}
      </header>
      <TroubleNotice answer={others} what="Nothing to compare with came." />
      <dl>
        {names.map((name) => {
          const { title, unit, meaning } = componentWords(name);
          const value = score.components[name] ?? Number.NaN;
          return (
            <div key={name} class={counts(name) ? 'counted' : ''}>
              <dt>
                {title}
                {counts(name) && <span class="tag">counts</span>}
              </dt>
              <dd>
                <b>{significant(value, 4)}</b> {unit}
                {others.value && (
                  <Scale value={value} others={others.value.map(({ components }) => components[name] ?? 0)} />
                )}
                <small>{meaning}</small>
              </dd>
            </div>
          );
        })}
      </dl>
    </section>
  );
}

/** A value among those of other items. */
function Scale({ value, others }: { readonly value: number; readonly others: readonly number[] }) {
  const low = Math.min(value, ...others);
  const high = Math.max(value, ...others);
  const at = (place: number) => (high > low ? 4 + (192 * (place - low)) / (high - low) : 100);
  const above = others.filter((other) => other >= value).length;
  return (
    <svg
      class="scale"
      viewBox="0 0 200 18"
      role="img"
      aria-label={`${above} of ${others.length} reference items are at least as high`}
    >
      <line x1="4" x2="196" y1="9" y2="9" />
      {others.map((other, i) => (
        <circle key={i} cx={at(other)} cy="9" r="3" />
      ))}
      <path d={`M${at(value)} 1v16`} />
    </svg>
  );
}

/** The columns of a row that contribute most, with what was expected of them. */
export function Contributions({
  contributions,
}: {
  readonly contributions: NonNullable<AnomalyScore['contributions']>;
}) {
  const most = Math.max(...contributions.map(({ nats }) => nats), 1e-9);
  const shown = (value: number | string | null) =>
    value === null ? 'missing' : typeof value === 'number' ? significant(value) : value;
  return (
    <section class="contributions" aria-label="Columns that contribute most">
      <h2>Columns that contribute most</h2>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard. */}
      <div class="wide-table" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col" class="number">
                Observed
              </th>
              <th scope="col" class="number">
                Expected
              </th>
              <th scope="col" class="number">
                Nats
              </th>
              <th scope="col" class="bar-cell">
                <span class="hidden-text">Share</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {contributions.map(({ column, observed, expected, nats }) => (
              <tr key={column}>
                <th scope="row">{column}</th>
                <td class="number">{shown(observed)}</td>
                <td class="number">{shown(expected)}</td>
                <td class="number">{significant(nats, 3)}</td>
                <td class="bar-cell">
                  <span class="amount" style={{ width: `${Math.max(0, (100 * nats) / most)}%` }} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
