import { signal } from '@preact/signals';

/**
 * Ten colours for classes, in a light and a dark variant of the same hue. Found by a search for the largest least difference
 * in OKLab, as seen by eyes with all cones and (Machado et al., 2009) without those for long, medium or short waves: 0.10 in both. Each
 * has a contrast of at least 3 with its background; the first of them differ most.
 */
const LIGHT = [
  '#490b94',
  '#aa9117',
  '#781d00',
  '#5e71af',
  '#639bb4',
  '#9e6d59',
  '#683bbb',
  '#592656',
  '#794d69',
  '#964101',
];
const DARK = [
  '#8768d6',
  '#f4de87',
  '#bf6c56',
  '#a8bcf5',
  '#b5e7fd',
  '#e7b8a6',
  '#ab8eff',
  '#9d6d98',
  '#c096af',
  '#dd8f66',
];

export type Rgb = readonly [red: number, green: number, blue: number];

export interface Palette {
  readonly background: Rgb;
  /** Of points without a class. */
  readonly plain: string;
  readonly classes: readonly string[];
}

const PALETTES: Readonly<Record<'light' | 'dark', Palette>> = {
  light: { background: [255, 255, 255], plain: '#0d5f63', classes: LIGHT },
  dark: { background: [24, 27, 31], plain: '#6cc7c3', classes: DARK },
};

const query = matchMedia('(prefers-color-scheme: dark)');
const isDark = signal(query.matches);
query.addEventListener('change', ({ matches }) => {
  isDark.value = matches;
});

/** Of the scheme that the user's system has now. */
export function palette(): Palette {
  return PALETTES[isDark.value ? 'dark' : 'light'];
}

/** More classes than colours share them; the legend tells them apart. */
export function classColour({ classes, plain }: Palette, label: number | undefined): string {
  return label === undefined ? plain : (classes[label % classes.length] ?? plain);
}

export function rgbOf(colour: string): Rgb {
  const part = (start: number) => Number.parseInt(colour.slice(start, start + 2), 16);
  return [part(1), part(3), part(5)];
}
