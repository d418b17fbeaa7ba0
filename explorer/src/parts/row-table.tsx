import { cellText, columnsOf, type VectorInput } from '../model/model.js';

export interface RowTableProps {
  readonly input: VectorInput;
  readonly values: ArrayLike<number>;
  /** Where the values of each column usually lie; bars are drawn on this scale. */
  readonly ranges: readonly (readonly [number, number])[] | undefined;
  readonly caption: string;
}

/** A row of a table, column below column, with a bar where each value lies among the usual ones. */
export function RowTable({ input, values, ranges, caption }: RowTableProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard.
    <section class="row-table" aria-label={caption} tabIndex={0}>
      <table>
        <caption>{caption}</caption>
        <thead>
          <tr>
            <th scope="col">Column</th>
            <th scope="col" class="number">
              Value
            </th>
            <th scope="col" class="bar-cell">
              <span class="hidden-text">Among usual values</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {columnsOf(input).map((column, i) => {
            const value = values[i] ?? Number.NaN;
            const range = column.categories === undefined ? ranges?.[i] : undefined;
            return (
              <tr key={column.name}>
                <th scope="row">{column.name}</th>
                <td class="number">{cellText(column, value)}</td>
                <td class="bar-cell">{range && <Bar value={value} range={range} />}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

function Bar({ value, range: [low, high] }: { readonly value: number; readonly range: readonly [number, number] }) {
  if (!Number.isFinite(value) || !(high > low)) return null;
  const place = Math.max(0, Math.min(1, (value - low) / (high - low)));
  return (
    <svg class="bar-mark" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect class="bar-track" x="0" y="4" width="100" height="2" />
      <rect class="bar-value" x={Math.max(0, place * 100 - 1.5)} y="0" width="3" height="10" />
    </svg>
  );
}
