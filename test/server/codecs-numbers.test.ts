import { bytesFromBase64 } from '@elbo/server/codecs/base64';
import { CodecError } from '@elbo/server/codecs/errors';
import { float32FromNumbers, numbersFromFloat32 } from '@elbo/server/codecs/float32';
import { jsonWithTensors } from '@elbo/server/codecs/json';
import { latentsFromJson } from '@elbo/server/codecs/latents';
import { numbersFromJson, numbersFromList } from '@elbo/server/codecs/numbers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const IMAGE = { shape: [1, 2, 3], range: [0, 1] as const };
const RGB = { shape: [3, 1, 2], range: [0, 1] as const };

function parsed(item: readonly unknown[], description: { shape: number[]; range: readonly [number, number] } = IMAGE) {
  const target = new Float32Array(6);
  numbersFromJson(item, 'inputs[0]', description, target);
  return [...target];
}

describe('numbers in JSON', () => {
  const expected = [0, 0.25, 0.5, 0.75, 1, 0.125];

  it.each([
    ['flat', expected],
    ['nested', [[expected.slice(0, 3), expected.slice(3)]]],
    ['nested without the leading 1', [expected.slice(0, 3), expected.slice(3)]],
  ])('are read %s', (_name, item) => {
    expect(parsed(item)).toEqual(expected);
  });

  it.each([
    ['too few', [0, 0], 'inputs[0] has 2 numbers; expected 6 (1x2x3)'],
    ['none', [], 'inputs[0] has 0 numbers; expected 6 (1x2x3)'],
    ['null', [0, 0, null, 0, 0, 0], 'inputs[0][2] is null; expected a number'],
    ['a string', [0, '1', 0, 0, 0, 0], 'inputs[0][1] is the string "1"; expected a number'],
    ['a boolean', [true, 0, 0, 0, 0, 0], 'inputs[0][0] is true; expected a number'],
    ['an array among numbers', [0, [0], 0, 0, 0, 0], 'inputs[0][1] is an array; expected a number'],
    ['above the range', [0, 0, 0, 0, 0, 1.5], 'inputs[0][5] is 1.5; expected 0 to 1'],
    ['below the range', [-0.1, 0, 0, 0, 0, 0], 'inputs[0][0] is -0.1; expected 0 to 1'],
    ['1e999 of JSON', [Number.POSITIVE_INFINITY, 0, 0, 0, 0, 0], 'inputs[0][0] is Infinity; expected 0 to 1'],
    [
      'a ragged row',
      [
        [
          [0, 0, 0],
          [0, 0],
        ],
      ],
      'inputs[0][0][1] has 2 elements; expected 3 numbers (3)',
    ],
    ['too few rows', [[[0, 0, 0]]], 'inputs[0][0] has 1 elements; expected 2 arrays (2x3)'],
    ['a number among rows', [[[0, 0, 0], 5]], 'inputs[0][0][1] is 5; expected an array of 3 numbers'],
    [
      'a bad number deep inside',
      [
        [
          [0, 0, 0],
          [0, 7, 0],
        ],
      ],
      'inputs[0][0][1][1] is 7; expected 0 to 1',
    ],
    [
      'nested too deep',
      [
        [
          [[0], [0], [0]],
          [[0], [0], [0]],
        ],
      ],
      'inputs[0][0][0][0] is an array; expected a number',
    ],
  ])('are refused: %s', (_name, item, message) => {
    expect(() => parsed(item)).toThrow(new CodecError('INVALID_INPUT', message));
  });

  it('refuse channels last, which would be read in the wrong order', () => {
    expect(() =>
      parsed(
        [
          [
            [0, 0, 0],
            [0, 0, 0],
          ],
        ],
        RGB,
      ),
    ).toThrow('inputs[0] has 1 elements; expected 3 arrays (3x1x2)');
  });

  it('are refused where float32 cannot hold them', () => {
    expect(() => latentsFromJson([[1e39, 0]], 2)).toThrow('latents[0][0] is 1e+39; expected a finite float32 number');
    expect(() => latentsFromJson([[0, 0], 'x'], 2)).toThrow(
      'latents[1] is the string "x"; expected an array of 2 numbers',
    );
  });

  it('come back from JSON text as the same float32 values', () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 6, maxLength: 6, noNaN: true, noDefaultInfinity: true }), (data) => {
        const text = jsonWithTensors({ model: 'm' }, { outputs: { data, shape: [3, 2] } });
        const { outputs } = JSON.parse(String(text)) as { outputs: number[][] };
        expect([...latentsFromJson(outputs, 2)]).toEqual([...data].map((value) => value + 0));
      }),
    );
  });

  it('become a stream when they are many, with the same text', async () => {
    const data = Float32Array.from({ length: 50_000 }, (_, i) => i / 7);
    const answer = jsonWithTensors(
      { model: 'm' },
      { a: { data, shape: [500, 100] }, b: { data, shape: [5, 100, 100] } },
    );
    if (typeof answer === 'string') throw new Error('expected a stream');
    const pieces: string[] = [];
    for await (const piece of answer) pieces.push(String(piece));
    expect(pieces.length).toBeGreaterThan(4);
    const { a, b } = JSON.parse(pieces.join('')) as { a: number[][]; b: number[][][] };
    expect(a.flat()).toEqual([...data]);
    expect(b.flat(2)).toEqual([...data]);
    expect([a.length, b.length, b[0]?.length]).toEqual([500, 5, 100]);
  });
});

describe('numbers in a query', () => {
  const read = (list: string) => [...numbersFromList(list, 'values', { shape: [3], range: [-10, 10] })];

  it('are read', () => expect(read('1,-2.5,3e-1')).toEqual([1, -2.5, Math.fround(0.3)]));

  it.each([
    ['1,2', 'values has 2 numbers; expected 3 (3)'],
    ['1,,3', 'values[1] is the string ""; expected a number'],
    ['1,NaN,3', 'values[1] is the string "NaN"; expected a number'],
    ['1,0x10,3', 'values[1] is the string "0x10"; expected a number'],
    ['1,11,3', 'values[1] is 11; expected -10 to 10'],
    ['1,1e999,3', 'values[1] is Infinity; expected -10 to 10'],
  ])('%s is refused', (list, message) => expect(() => read(list)).toThrow(message));
});

describe('raw float32', () => {
  it('goes through unchanged, wherever the bytes lie in memory', () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: 0, max: 1, noNaN: true }), { minLength: 6, maxLength: 6 }),
        fc.integer({ min: 0, max: 7 }),
        (values, offset) => {
          const bytes = Buffer.alloc(offset + 24);
          for (const [i, value] of values.entries()) bytes.writeFloatLE(value, offset + i * 4);
          const data = numbersFromFloat32(bytes.subarray(offset), IMAGE);
          expect([...data]).toEqual(values);
          expect(float32FromNumbers(data)).toEqual(bytes.subarray(offset));
        },
      ),
    );
  });

  it.each([
    [0, 'the body has 0 bytes; expected a multiple of 24 (1x2x3 float32 an item)'],
    [23, 'the body has 23 bytes; expected a multiple of 24'],
    [28, 'the body has 28 bytes; expected a multiple of 24'],
  ])('of %i bytes is refused', (length, message) => {
    expect(() => numbersFromFloat32(Buffer.alloc(length), IMAGE)).toThrow(message);
  });

  it.each([
    [Number.NaN, 'body[1][2] is NaN; expected 0 to 1'],
    [Number.POSITIVE_INFINITY, 'body[1][2] is Infinity; expected 0 to 1'],
    [1.25, 'body[1][2] is 1.25; expected 0 to 1'],
  ])('with %d is refused', (value, message) => {
    const bytes = Buffer.alloc(48);
    bytes.writeFloatLE(value, 32);
    expect(() => numbersFromFloat32(bytes, IMAGE)).toThrow(message);
    expect(() => numbersFromFloat32(Buffer.from('0000c07f', 'hex'), { shape: [1] })).toThrow('body[0][0] is NaN');
  });
});

describe('base64', () => {
  it('is read in both alphabets, padded or not', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 50 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        for (const text of [
          buffer.toString('base64'),
          buffer.toString('base64url'),
          buffer.toString('base64').replace(/=+$/, ''),
        ]) {
          expect(bytesFromBase64(text, 'input')).toEqual(buffer);
        }
      }),
    );
  });

  it('that is anything else is refused, not skipped over', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        let bytes: Buffer;
        try {
          bytes = bytesFromBase64(text, 'input');
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError);
          return;
        }
        const unpadded = text.replace(/=+$/, '');
        expect([bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url')]).toContain(unpadded);
      }),
    );
    for (const text of ['', '====', 'a', 'ab c', 'a-b+', 'QQ=', 'QUI==', 'QR==', 'ÿÿÿÿ', 'QUJD\n']) {
      expect(() => bytesFromBase64(text, 'input'), JSON.stringify(text)).toThrow(/^input is /);
    }
  });
});
