import { parseJson } from '@elbo/server/codecs/parse-json';
import fc from 'fast-check';
import { parse as parseSecurely } from 'secure-json-parse';
import { describe, expect, it } from 'vitest';

const outcome = (parse: (text: string) => unknown, text: string): unknown => {
  try {
    return { value: parse(text) };
  } catch {
    return 'refused';
  }
};

/** A text with some of its letters written as escapes. */
const escaped = (text: string) =>
  fc
    .array(fc.boolean(), { minLength: text.length, maxLength: text.length })
    .map((choices) =>
      [...text]
        .map((letter, i) => (choices[i] ? `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}` : letter))
        .join(''),
    );

describe('JSON of a request', () => {
  it.each([
    ['{"__proto__": {"admin": true}}'],
    ['{"constructor": {"prototype": {"admin": true}}}'],
    ['[{"a": [{"\\u005f_proto__": 1}]}]'],
    ['{"\\u0063onstructor" : {"prototype": 1}}'],
  ])('is refused where it could change a prototype: %s', (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError);
  });

  it('may begin with a byte order mark', () => {
    expect(parseJson('\ufeff{"a": 1}')).toEqual({ a: 1 });
  });

  it('is what secure-json-parse makes of it, however its keys are written', () => {
    const key = fc.constantFrom('__proto__', 'constructor', 'prototype', 'a', 'proto').chain(escaped);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(key, fc.json()), { maxLength: 3 }),
        fc.constantFrom('', ' ', '\ufeff'),
        (entries, start) => {
          const text = `${start}{${entries.map(([name, value]) => `"${name}": ${value}`).join(',')}}`;
          expect(outcome(parseJson, text)).toEqual(outcome(parseSecurely, text));
        },
      ),
      { numRuns: 500 },
    );
  });
});
