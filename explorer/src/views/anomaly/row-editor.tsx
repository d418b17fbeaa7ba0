import { cellText, columnsOf, type VectorInput } from '../../model/model.js';
import { cellValue } from '../../model/table-text.js';

export interface RowEditorProps {
  readonly input: VectorInput;
  readonly values: Float32Array;
  readonly onChange: (values: Float32Array) => void;
}

/** The values of a row, to be changed one by one. */
export function RowEditor({ input, values, onChange }: RowEditorProps) {
  return (
    <fieldset class="row-editor">
      <legend>Values</legend>
      {columnsOf(input).map((column, i) => {
        const { name, categories } = column;
        const value = values[i] ?? Number.NaN;
        const id = `column-${i}`;
        return (
          <div key={name} class="field">
            <label for={id}>{name}</label>
            {categories === undefined ? (
              <input
                id={id}
                value={Number.isNaN(value) ? '' : Number(value.toPrecision(7))}
                placeholder="missing"
                inputMode="decimal"
                onChange={(event) => {
                  try {
                    onChange(values.with(i, cellValue(event.currentTarget.value, column)));
                    event.currentTarget.setCustomValidity('');
                  } catch (error) {
                    event.currentTarget.setCustomValidity((error as Error).message);
                    event.currentTarget.reportValidity();
                  }
                }}
              />
            ) : (
              <select
                id={id}
                value={Number.isNaN(value) ? '' : String(value)}
                onChange={(event) =>
                  onChange(
                    values.with(i, event.currentTarget.value === '' ? Number.NaN : Number(event.currentTarget.value)),
                  )
                }
              >
                <option value="">missing</option>
                {categories.map((text, code) => (
                  <option key={text} value={String(code)}>
                    {cellText(column, code)}
                  </option>
                ))}
              </select>
            )}
          </div>
        );
      })}
    </fieldset>
  );
}
