import type { Model } from '../model/model.js';
import { type Start, startText } from '../model/start.js';
import { Choice } from './choice.js';
import { NumberField, SeedField } from './number-field.js';

export interface StartPickerProps {
  readonly model: Model;
  readonly label: string;
  readonly start: Start;
  readonly kinds: readonly Start['kind'][];
  readonly onChange: (text: string) => void;
}

const NAMES: Readonly<Record<Start['kind'], string>> = { mean: 'Mean', item: 'Reference item', sample: 'Sample' };
const FIRST: Readonly<Record<Start['kind'], Start>> = {
  mean: { kind: 'mean' },
  item: { kind: 'item', item: 0 },
  sample: { kind: 'sample', seed: 1, place: 0, temperature: 1 },
};

/** Picks where a latent comes from. */
export function StartPicker({ model, label, start, kinds, onChange }: StartPickerProps) {
  const count = model.details.reference?.count ?? 0;
  const offered = kinds.filter((kind) => kind !== 'item' || count > 0);
  return (
    <div class="start">
      <Choice
        label={label}
        value={start.kind}
        options={offered.map((value) => ({ value, text: NAMES[value] }))}
        onChange={(kind) => onChange(startText(FIRST[kind]))}
      />
      {start.kind === 'item' && (
        <div class="seed">
          <NumberField
            label="Item"
            value={start.item}
            low={0}
            high={count - 1}
            onChange={(item) => onChange(startText({ kind: 'item', item }))}
          />
          <button
            type="button"
            onClick={() => onChange(startText({ kind: 'item', item: Math.floor(Math.random() * count) }))}
          >
            Another
          </button>
        </div>
      )}
      {start.kind === 'sample' && (
        <SeedField
          value={start.seed}
          onChange={(seed) => onChange(startText({ kind: 'sample', seed, place: 0, temperature: 1 }))}
        />
      )}
    </div>
  );
}
