import { useRef, useState } from 'preact/hooks';
import type { ImageInput } from '../model/model.js';
import { Picture } from './picture.js';

export interface PictureGridProps {
  /** N x item. */
  readonly items: Float32Array;
  readonly input: ImageInput;
  readonly name: (place: number) => string;
  readonly onPick: (place: number) => void;
}

/** Pictures to pick one from: one stop for the tab key, arrow keys inside. */
export function PictureGrid({ items, input, name, onPick }: PictureGridProps) {
  const size = input.shape.reduce((product, side) => product * side, 1);
  const count = items.length / size;
  const [active, setActive] = useState(0);
  const grid = useRef<HTMLDivElement>(null);
  const onKeyDown = (event: KeyboardEvent): void => {
    const cells = grid.current?.children;
    if (cells === undefined) return;
    const columns = columnsIn(cells);
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = active + step;
    if (next < 0 || next >= count) return;
    setActive(next);
    (cells[next] as HTMLElement).focus();
  };
  const current = Math.min(active, count - 1);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys go from button to button.
    <div ref={grid} class={`picture-grid ${count > 64 ? 'many' : ''}`} onKeyDown={onKeyDown}>
      {Array.from({ length: count }, (_, place) => (
        <button
          key={place}
          type="button"
          tabIndex={place === current ? 0 : -1}
          aria-label={name(place)}
          title={name(place)}
          onFocus={() => setActive(place)}
          onClick={() => onPick(place)}
        >
          <Picture values={items.subarray(place * size, (place + 1) * size)} input={input} label="" decorative />
        </button>
      ))}
    </div>
  );
}

/** Cells beside each other, as the browser laid them out. */
function columnsIn(cells: HTMLCollection): number {
  const top = (cell: Element | undefined) => (cell as HTMLElement | undefined)?.offsetTop;
  const first = top(cells[0]);
  const next = [...cells].findIndex((cell) => top(cell) !== first);
  return next === -1 ? cells.length : next;
}
