/**
 * The letters that captions need, as pen strokes: x-height 10, ascenders 15, descenders 5, baseline at y = 0.
 * They are drawn instead of set in a font because a slim container has none, and so that a picture is the same everywhere.
 */
const LETTERS: Readonly<Record<string, { width: number; strokes: string }>> = {
  a: { width: 9, strokes: 'M9-10V0M9-5a4.5 5 0 1 0-9 0a4.5 5 0 1 0 9 0' },
  c: { width: 8, strokes: 'M8-8.2A4.6 5 0 1 0 8-1.8' },
  e: { width: 9, strokes: 'M0-5H9A4.5 5 0 1 0 7.8-1.6' },
  g: { width: 9, strokes: 'M9-10V.5a4.5 4.5 0 0 1-8.2 2.4M9-5a4.5 5 0 1 0-9 0a4.5 5 0 1 0 9 0' },
  i: { width: 0, strokes: 'M0-10V0M0-14v.01' },
  l: { width: 0, strokes: 'M0-15V0' },
  m: { width: 14, strokes: 'M0-10V0M0-6.5a3.5 3.5 0 0 1 7 0V0M7-6.5a3.5 3.5 0 0 1 7 0V0' },
  n: { width: 8, strokes: 'M0-10V0M0-6a4 4 0 0 1 8 0V0' },
  o: { width: 9, strokes: 'M0-5a4.5 5 0 1 1 9 0a4.5 5 0 1 1-9 0' },
  p: { width: 9, strokes: 'M0-10V5M0-5a4.5 5 0 1 1 9 0a4.5 5 0 1 1-9 0' },
  r: { width: 4.5, strokes: 'M0-10V0M0-5.5A4.5 4.5 0 0 1 4.5-9.9' },
  s: {
    width: 7,
    strokes: 'M6.6-8.4C5.9-9.5 4.9-10 3.6-10C1.7-10 .4-9 .4-7.6C.4-4.2 7-5.9 7-2.6C7-1 5.5 0 3.6 0C2.1 0 .8-.6 0-1.8',
  },
  t: { width: 5.5, strokes: 'M2-14V-3a3 3 0 0 0 3 3h.5M-.5-10H5.5' },
  u: { width: 8, strokes: 'M0-10V-4a4 4 0 0 0 8 0M8-10V0' },
};
const LETTER_SPACING = 4;

/** A drawn line of text. */
export interface Caption {
  /** Pixels from the left edge of the first letter to the right edge of the last. */
  readonly width: number;
  /** An SVG group with its origin at the left end of the baseline. */
  readonly svg: string;
}

/**
 * Draws `text` (of the letters above).
 * @param height of the letter x, in pixels
 * @throws {RangeError} for a letter that there are no strokes of
 */
export function drawCaption(text: string, height: number, colour: string): Caption {
  let x = 0;
  const letters = [...text].map((letter) => {
    const shape = LETTERS[letter];
    if (shape === undefined) {
      throw new RangeError(`caption has the letter ${letter}; expected ${Object.keys(LETTERS).join('')}`);
    }
    const path = `<path transform="translate(${x})" d="${shape.strokes}"/>`;
    x += shape.width + LETTER_SPACING;
    return path;
  });
  const scale = height / 10;
  const pen = `fill="none" stroke="${colour}" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round"`;
  return { width: (x - LETTER_SPACING) * scale, svg: `<g transform="scale(${scale})" ${pen}>${letters.join('')}</g>` };
}
