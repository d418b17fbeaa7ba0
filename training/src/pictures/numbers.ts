// Numbers as people read them.

/** Training runs in float32: what isn't finite there isn't a value. */
export function isDrawable(value: number): boolean {
  return Number.isFinite(Math.fround(value));
}

/** About four significant digits, with a real minus sign. */
export function significant(value: number): string {
  if (!isDrawable(value)) return 'not finite';
  const size = Math.abs(value);
  const exponential = size >= 1e6 || (size < 1e-3 && size > 0);
  const text = exponential ? value.toExponential(2) : size >= 1e4 ? value.toFixed(0) : value.toPrecision(4);
  return text.replaceAll('-', '−');
}

/** As `significant`, without zeros at the end: 0.5, 1, 2.5e+7. */
export function brief(value: number): string {
  return significant(value).replace(/\.?0+(?=e|$)/, (zeros, at: number, text: string) =>
    // Only those behind a point say nothing.
    text.slice(0, at + 1).includes('.') ? '' : zeros,
  );
}

/** With so many digits after the point, a real minus sign, and none before a zero. */
export function fixed(value: number, digits: number): string {
  return value
    .toFixed(digits)
    .replace(/^-(?=[0.]*$)/, '')
    .replace('-', '−');
}

/** Seconds as people say them: 45 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '…';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
