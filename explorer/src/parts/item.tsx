import type { Model } from '../model/model.js';
import { Picture } from './picture.js';
import { RowTable } from './row-table.js';

export interface ItemProps {
  readonly model: Model;
  readonly values: ArrayLike<number> | undefined;
  readonly label: string;
  readonly ranges?: readonly (readonly [number, number])[] | undefined;
}

/** An item of any model, large: a picture, or a row. */
export function Item({ model, values, label, ranges }: ItemProps) {
  if (model.input.kind === 'vector') {
    return values === undefined ? null : (
      <RowTable input={model.input} values={values} ranges={ranges} caption={label} />
    );
  }
  return (
    <figure class="item">
      {values === undefined ? (
        <div class="picture waiting" />
      ) : (
        <Picture values={values} input={model.input} label={label} />
      )}
      <figcaption>{label}</figcaption>
    </figure>
  );
}
