import { useRef } from 'preact/hooks';
import { go } from '../../location.js';
import type { Points } from '../../model/points.js';
import { classColour, palette } from './palette.js';

/** The classes and their colours; each can be hidden. */
export function Legend({ points, hidden }: { readonly points: Points; readonly hidden: ReadonlySet<number> }) {
  const legend = useRef<HTMLFieldSetElement>(null);
  const colours = palette();
  const counts = points.labelNames.map(() => 0);
  for (const label of points.labels ?? []) counts[label] = (counts[label] ?? 0) + 1;
  const show = (labels: readonly number[]) => go({ hidden: labels.length === 0 ? undefined : labels.join(',') });
  return (
    <fieldset class="legend" ref={legend}>
      <legend>Classes</legend>
      <ul>
        {points.labelNames.map((name, label) => (
          <li key={name}>
            <button
              type="button"
              aria-pressed={!hidden.has(label)}
              onClick={() =>
                show(hidden.has(label) ? [...hidden].filter((other) => other !== label) : [...hidden, label])
              }
            >
              <span class="swatch" style={{ '--swatch': classColour(colours, label) }} />
              <bdi class="name" title={name}>
                {name}
              </bdi>
              <span class="count">{counts[label]}</span>
            </button>
          </li>
        ))}
      </ul>
      {hidden.size > 0 && (
        <button
          type="button"
          class="plain"
          onClick={() => {
            // This button goes with what it takes back.
            legend.current?.querySelector('button')?.focus();
            show([]);
          }}
        >
          Show all
        </button>
      )}
    </fieldset>
  );
}
