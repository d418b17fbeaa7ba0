import type { ModelDetails } from '../../api/service.js';

/** How a model was made: what matters most, and everything else on demand. */
export function TrainingRecord({ record }: { readonly record: ModelDetails['training'] }) {
  const { configuration, dataset, ...others } = record as Record<string, unknown>;
  return (
    <div class="record">
      <dl class="facts">
        {entriesOf(dataset, 'dataset').map(([name, value]) => (
          <Entry key={name} name={name} value={value} />
        ))}
        {Object.entries(others).map(([name, value]) => (
          <Entry key={name} name={name} value={text(name, value)} />
        ))}
      </dl>
      <details>
        <summary>The whole configuration</summary>
        <dl class="facts">
          {entriesOf(configuration, '').map(([name, value]) => (
            <Entry key={name} name={name} value={value} />
          ))}
        </dl>
      </details>
    </div>
  );
}

function Entry({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name.replaceAll('_', ' ')}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Nested fields by their path. */
function entriesOf(value: unknown, path: string): [string, string][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[path, text(path, value)]];
  return Object.entries(value).flatMap(([name, inner]) => entriesOf(inner, path === '' ? name : `${path} ${name}`));
}

function text(name: string, value: unknown): string {
  if (name === 'seconds' && typeof value === 'number') return duration(value);
  if (typeof value === 'string') return value;
  return Array.isArray(value) && value.every((inner) => typeof inner !== 'object')
    ? value.join(', ')
    : JSON.stringify(value);
}

function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${Math.round(seconds)} s` : `${minutes} min ${Math.round(seconds % 60)} s`;
}
