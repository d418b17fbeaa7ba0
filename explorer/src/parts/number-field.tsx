import { useId } from 'preact/hooks';
import { LARGEST_SEED } from '../model/random.js';

export interface NumberFieldProps {
  readonly label: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly onChange: (value: number) => void;
}

/** A whole number; what lies outside of the range changes nothing. */
export function NumberField({ label, value, low, high, onChange }: NumberFieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="number"
        inputMode="numeric"
        min={low}
        max={high}
        step={1}
        value={value}
        onChange={(event) => {
          const { value: text, valueAsNumber: number } = event.currentTarget;
          if (text !== '' && Number.isInteger(number) && number >= low && number <= high) onChange(number);
          else event.currentTarget.value = String(value);
        }}
      />
    </div>
  );
}

export interface SeedFieldProps {
  readonly value: number;
  readonly label?: string;
  readonly onChange: (seed: number) => void;
}

/** A seed, and another one by a button. */
export function SeedField({ value, label = 'Seed', onChange }: SeedFieldProps) {
  return (
    <div class="seed">
      <NumberField label={label} value={value} low={0} high={LARGEST_SEED} onChange={onChange} />
      {/* Of few digits, since people read them to each other. */}
      <button type="button" onClick={() => onChange(Math.floor(Math.random() * 100_000))}>
        Another
      </button>
    </div>
  );
}
