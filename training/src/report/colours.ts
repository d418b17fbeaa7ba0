import { scaleLinear } from 'd3-scale';

/** A colour on a light and on a dark page. */
export interface Colour {
  readonly light: string;
  readonly dark: string;
}

/** Ten colours that colour-blind readers tell apart (Petroff, 2021), and lighter ones of the dark among them. */
const CLASSES: readonly Colour[] = [
  { light: '#3f90da', dark: '#5aa9f0' },
  { light: '#ffa90e', dark: '#ffa90e' },
  { light: '#bd1f01', dark: '#f0553a' },
  { light: '#94a4a2', dark: '#c3cfcd' },
  { light: '#832db6', dark: '#c084e8' },
  { light: '#a96b59', dark: '#c58b79' },
  { light: '#e76300', dark: '#ff8a3d' },
  { light: '#b9ac70', dark: '#d6cb95' },
  { light: '#717581', dark: '#8e93a3' },
  { light: '#4fb3b9', dark: '#92dadd' },
];

/** Viridis at nine steps; equal steps look equal, to colour-blind readers too. */
const VIRIDIS = ['#440154', '#472d7b', '#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725'];
const viridis = scaleLinear<string>()
  .domain(VIRIDIS.map((_, i) => i / (VIRIDIS.length - 1)))
  .range(VIRIDIS);

/** Colours of classes that have no order; of an order where there are more classes than colours. */
export function classColours(count: number): readonly Colour[] {
  return count <= CLASSES.length ? CLASSES.slice(0, count) : orderedColours(count);
}

/** Colours of ordered values, without the end that a light or a dark page hides. */
export function orderedColours(count: number): readonly Colour[] {
  return Array.from({ length: count }, (_, i) => {
    const t = count === 1 ? 0.5 : i / (count - 1);
    return { light: viridis(0.9 * t), dark: viridis(0.2 + 0.8 * t) };
  });
}

/** As a value of a CSS property. */
export function css({ light, dark }: Colour): string {
  return `light-dark(${light}, ${dark})`;
}
