import { go, parameter } from '../location.js';
import type { Model } from '../model/model.js';
import { Select } from './select.js';

/** The class of a conditional model that the address names. */
export function chosenClass({ classes }: Model): number | undefined {
  const label = Number(parameter('label') || Number.NaN);
  return classes?.[label] === undefined ? undefined : label;
}

/** Picks the class of a conditional model; nothing for others. */
export function ClassSelect({ model, otherwise }: { readonly model: Model; readonly otherwise: string }) {
  if (model.classes === undefined) return null;
  return (
    <Select
      label="Class"
      value={String(chosenClass(model) ?? '')}
      options={[{ value: '', text: otherwise }, ...model.classes.map((text, i) => ({ value: String(i), text }))]}
      onChange={(value) => go({ label: value === '' ? undefined : value })}
    />
  );
}
