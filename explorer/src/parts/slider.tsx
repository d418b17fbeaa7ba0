import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

export interface SliderProps {
  readonly label: ComponentChildren;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly step: number;
  /** How the value reads. */
  readonly text: string;
  readonly hint?: ComponentChildren;
  readonly disabled?: boolean;
  readonly onChange: (value: number) => void;
}

export function Slider({ label, value, low, high, step, text, hint, disabled = false, onChange }: SliderProps) {
  const id = useId();
  return (
    <div class="slider">
      <label for={id}>{label}</label>
      <output for={id}>{text}</output>
      <input
        id={id}
        type="range"
        min={low}
        max={high}
        step={step}
        value={value}
        disabled={disabled}
        aria-valuetext={text}
        onInput={(event) => onChange(Number(event.currentTarget.value))}
      />
      {hint !== undefined && <small>{hint}</small>}
    </div>
  );
}
