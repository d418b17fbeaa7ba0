import { CodecError } from '@elbo/server/codecs/errors';
import {
  classesOfTensor,
  type InferRequest,
  inferAnswer,
  numbersOfTensor,
  readInferRequest,
  type Signature,
} from '@elbo/server/codecs/open-inference';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const GRAPH: Signature = {
  inputs: [{ name: 'x', shape: [2, 3] }],
  outputs: [
    { name: 'mean', shape: [4] },
    { name: 'score', shape: [] },
  ],
};
const CONDITIONAL: Signature = { ...GRAPH, inputs: [...GRAPH.inputs, { name: 'label', shape: [3] }] };

const item = [0, 0.25, 0.5, 0.75, 1, 0.125];
const x = { name: 'x', shape: [1, 2, 3], datatype: 'FP32', data: item };
const label = { name: 'label', shape: [1, 3], datatype: 'FP32', data: [0, 1, 0] };

const bytesOf = (request: unknown): Buffer => Buffer.from(JSON.stringify(request));

/** JSON, then bytes, with the length that the header says. */
function withBytes(request: unknown, ...parts: ArrayBufferView[]): [Buffer, string] {
  const json = bytesOf(request);
  const views = parts.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength));
  return [Buffer.concat([json, ...views]), String(json.byteLength)];
}

const read = (request: unknown, signature = GRAPH) => readInferRequest(bytesOf(request), undefined, signature);

function numbers({ inputs }: InferRequest): number[] {
  return [...numbersOfTensor(inputs[0], { shape: inputs[0].shape })];
}

/** The message that a request is refused with. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(CodecError);
    return (error as CodecError).message;
  }
  throw new Error('it was accepted');
}

describe('a request in JSON', () => {
  it.each([
    ['flat', item],
    ['nested', [[item.slice(0, 3), item.slice(3)]]],
  ])('is read %s', (_name, data) => {
    const request = read({ id: 'one', inputs: [{ ...x, data }], parameters: { timeout: 1000 } });
    expect(request).toMatchObject({ id: 'one', rows: 1, timeoutMicroseconds: 1000 });
    expect(numbers(request)).toEqual(item);
    expect(request.outputs).toEqual(GRAPH.outputs.map((output) => ({ ...output, binary: false })));
  });

  it('names the outputs that it wants, in its order', () => {
    const outputs = [{ name: 'score' }, { name: 'mean', parameters: { binary_data: false } }];
    const wanted = read({ inputs: [x], outputs, parameters: { binary_data_output: true } }).outputs;
    expect(wanted.map(({ name, binary }) => [name, binary])).toEqual([
      ['score', true],
      ['mean', false],
    ]);
  });

  it('may have fields and parameters that mean nothing here', () => {
    expect(read({ model_name: 'm', inputs: [x], parameters: { priority: 1, mine: 'a' } }).rows).toBe(1);
  });

  it('has its inputs in any order', () => {
    const request = read({ inputs: [label, x] }, CONDITIONAL);
    expect(request.inputs.map(({ name }) => name)).toEqual(['x', 'label']);
    expect(request.inputs.slice(1).map(classesOfTensor)).toEqual([[1]]);
  });

  const of = (change: object) => ({ inputs: [{ ...x, ...change }] });
  it.each([
    ['an array', [], 'the body is an array; expected an object'],
    ['no inputs', {}, 'inputs is missing; expected an array with x'],
    ['an empty list', { inputs: [] }, 'inputs has no x; expected x'],
    ['another input', of({ name: 'y' }), 'inputs[0].name is the string "y"; expected x'],
    ['a name of prototypes', of({ name: 'constructor' }), 'inputs[0].name is the string "constructor"; expected x'],
    ['an input twice', { inputs: [x, x] }, 'inputs[1] is a second x; expected one'],
    ['no datatype', of({ datatype: undefined }), 'inputs[0].datatype is missing; expected FP32, or one of BOOL, '],
    ['BYTES', of({ datatype: 'BYTES' }), 'inputs[0].datatype is the string "BYTES"; expected FP32'],
    ['a datatype of prototypes', of({ datatype: 'toString' }), 'inputs[0].datatype is the string "toString"'],
    ['no shape', of({ shape: undefined }), 'inputs[0].shape is missing; expected [N, 2, 3]'],
    ['a flat shape', of({ shape: [1, 6] }), 'inputs[0].shape is [1, 6]; expected [N, 2, 3] for x, N at least 1'],
    ['no rows', of({ shape: [0, 2, 3], data: [] }), 'inputs[0].shape is [0, 2, 3]; expected [N, 2, 3]'],
    ['fewer than no rows', of({ shape: [-1, 2, 3] }), 'inputs[0].shape is [-1, 2, 3]; expected [N, 2, 3]'],
    ['half a row', of({ shape: [0.5, 2, 3] }), 'inputs[0].shape is [0.5, 2, 3]; expected [N, 2, 3]'],
    ['rows beyond numbers', of({ shape: [2 ** 60, 2, 3] }), 'expected [N, 2, 3] for x'],
    ['many rows', of({ shape: [2 ** 52, 2, 3] }), 'inputs[0].data has 6 elements; expected 27021597764222976 numbers'],
    ['a long shape', of({ shape: Array(1000).fill(1) }), 'inputs[0].shape is [1, 1, 1, 1, 1, 1, 1, 1, …]; expected'],
    ['too few numbers', of({ data: [1] }), 'inputs[0].data has 1 elements; expected 6 numbers ([1, 2, 3])'],
    ['neither data nor bytes', of({ data: undefined }), 'inputs[0].data is missing; expected an array of 6 numbers'],
    [
      'bytes that are not there',
      of({ data: undefined, parameters: { binary_data_size: 24 } }),
      'inputs[0].parameters.binary_data_size is 24; the body has 0 bytes left for it',
    ],
    ['both', of({ parameters: { binary_data_size: 24 } }), 'inputs[0] has data and binary_data_size; expected one of'],
    ['shared memory', of({ parameters: { shared_memory_region: 'r' } }), 'parameters.shared_memory_region is given'],
    ['parameters of no kind', of({ parameters: 3 }), 'inputs[0].parameters is 3; expected an object'],
    ['an id of no kind', { id: 5, inputs: [x] }, 'id is 5; expected a string'],
    [
      'an endless wait',
      { inputs: [x], parameters: { timeout: -1 } },
      'parameters.timeout is -1; expected microseconds',
    ],
    ['a sequence', { inputs: [x], parameters: { sequence_id: 1 } }, 'parameters.sequence_id is given; this server has'],
    ['no outputs', { inputs: [x], outputs: {} }, 'outputs is an object; expected an array'],
    [
      'another output',
      { inputs: [x], outputs: [{ name: 'z' }] },
      'outputs[0].name is the string "z"; expected one of mean, score',
    ],
    ['an output twice', { inputs: [x], outputs: [{ name: 'mean' }, { name: 'mean' }] }, 'outputs[1] is a second mean'],
    [
      'a wish for bytes of no kind',
      { inputs: [x], outputs: [{ name: 'mean', parameters: { binary_data: 1 } }] },
      'outputs[0].parameters.binary_data is 1; expected true or false',
    ],
    [
      'a classification',
      { inputs: [x], outputs: [{ name: 'mean', parameters: { classification: 3 } }] },
      'outputs[0].parameters.classification is given',
    ],
  ])('is refused with %s', (_name, request, message) => {
    expect(refusal(() => read(request))).toContain(message);
  });

  it.each([
    ['a string', [...item.slice(1), '1'], 'x (element 5) is the string "1"; expected FP32'],
    ['null', [null, ...item.slice(1)], 'x (element 0) is null; expected FP32'],
    ['true', [true, ...item.slice(1)], 'x (element 0) is true; expected FP32'],
    ['a number beyond float32', [1e39, ...item.slice(1)], 'x (element 0) is 1e+39; expected a finite float32 number'],
    ['an array among numbers', [0, [0], 0, 0, 0, 0], 'x (element 1) is an array; expected FP32'],
    ['a ragged row', [[[0, 0, 0], [0]]], 'data of x has an array of 1; expected 3 ([1, 2, 3])'],
    ['a number among rows', [[[0, 0, 0], 5]], 'data of x is 5; expected arrays nested as [1, 2, 3]'],
    [
      'arrays too deep',
      [
        [
          [[0], 0, 0],
          [0, 0, 0],
        ],
      ],
      'x (element 0) is an array; expected FP32',
    ],
  ])('is refused with %s in its data', (_name, data, message) => {
    expect(refusal(() => numbers(read({ inputs: [{ ...x, data }] })))).toContain(message);
  });

  it('is refused with rows that differ', () => {
    const two = { ...label, shape: [2, 3], data: [1, 0, 0, 0, 0, 1] };
    expect(refusal(() => read({ inputs: [x, two] }, CONDITIONAL))).toBe('label has 2 rows and x 1; expected as many');
    expect(refusal(() => read({ inputs: [x] }, CONDITIONAL))).toBe('inputs has no label; expected x and label');
  });

  it.each([[[0, 0, 0]], [[1, 1, 0]], [[0, 2, 0]], [[0.5, 0.5, 0]], [[1, 0, -1]]])(
    'is refused with the label %j',
    (data) => {
      const { inputs } = read({ inputs: [x, { ...label, data }] }, CONDITIONAL);
      expect(refusal(() => inputs.slice(1).map(classesOfTensor))).toBe(
        'label[0] is not one-hot; expected one 1 among 2 zeros',
      );
    },
  );

  it.each([
    ['no JSON', Buffer.from('{')],
    ['nothing', Buffer.alloc(0)],
    ['NaN', Buffer.from('{"inputs":[NaN]}')],
    ['a key of prototypes', Buffer.from('{"inputs":[],"__proto__":{"id":"a"}}')],
  ])('is refused with %s', (_name, body) => {
    expect(() => readInferRequest(body, undefined, GRAPH)).toThrow(SyntaxError);
  });
});

describe('datatypes', () => {
  it.each([
    ['BOOL', [true, false, true, true, false, false], [1, 0, 1, 1, 0, 0]],
    ['UINT8', [0, 255, 1, 2, 3, 4], undefined],
    ['INT64', [-(2 ** 40), 0, 1, 2, 3, 4], undefined],
    ['FP64', [0.1, 0, 1, 2, 3, 4], [Math.fround(0.1), 0, 1, 2, 3, 4]],
  ])('%s in JSON is converted', (datatype, data, expected = data as number[]) => {
    expect(numbers(read({ inputs: [{ ...x, datatype, data }] }))).toEqual(expected);
  });

  it.each([
    ['BOOL', new Uint8Array([1, 0, 1, 1, 0, 0])],
    ['UINT8', new Uint8Array([0, 255, 1, 2, 3, 4])],
    ['INT8', new Int8Array([-128, 127, 1, 2, 3, 4])],
    ['UINT16', new Uint16Array([0, 65_535, 1, 2, 3, 4])],
    ['INT16', new Int16Array([-32_768, 32_767, 1, 2, 3, 4])],
    ['UINT32', new Uint32Array([0, 2 ** 31, 1, 2, 3, 4])],
    ['INT32', new Int32Array([-(2 ** 31), 5, 1, 2, 3, 4])],
    ['UINT64', new BigUint64Array([0n, 2n ** 40n, 1n, 2n, 3n, 4n])],
    ['INT64', new BigInt64Array([-(2n ** 40n), 5n, 1n, 2n, 3n, 4n])],
    ['FP32', new Float32Array(item)],
    ['FP64', new Float64Array(item)],
  ])('%s in bytes is converted', (datatype, data) => {
    const tensor = { name: 'x', shape: [1, 2, 3], datatype, parameters: { binary_data_size: data.byteLength } };
    expect(numbers(readInferRequest(...withBytes({ inputs: [tensor] }, data), GRAPH))).toEqual(
      Array.from(data, Number),
    );
  });

  it('FP16 and BF16 in bytes are converted', () => {
    const convert = (datatype: string, data: Uint16Array) => {
      const tensor = { name: 'x', shape: [1, 2, 3], datatype, parameters: { binary_data_size: 12 } };
      return numbers(readInferRequest(...withBytes({ inputs: [tensor] }, data), GRAPH));
    };
    const halves = new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555, 0x8000]);
    expect(convert('FP16', halves)).toEqual([1, -2, 2 ** -24, 65_504, 0.333251953125, -0]);
    const brains = new Uint16Array([0x3f80, 0xc000, 0x4049, 0x0000, 0x3eab, 0x7f7f]);
    expect(convert('BF16', brains)).toEqual([1, -2, 3.140625, 0, 0.333984375, 3.3895313892515355e38]);
  });

  it.each([
    ['UINT8', [256, 0, 0, 0, 0, 0], 'x (element 0) is 256; expected UINT8'],
    ['UINT8', [-1, 0, 0, 0, 0, 0], 'x (element 0) is -1; expected UINT8'],
    ['INT32', [0.5, 0, 0, 0, 0, 0], 'x (element 0) is 0.5; expected INT32'],
    ['BOOL', [2, 0, 0, 0, 0, 0], 'x (element 0) is 2; expected BOOL'],
    ['INT32', [2 ** 24 + 1, 0, 0, 0, 0, 0], "is 16777217, which the model's FP32 cannot hold; send FP32"],
    ['INT64', [2 ** 60, 0, 0, 0, 0, 0], "which the model's FP32 cannot hold"],
  ])('%s does not hold %j', (datatype, data, message) => {
    expect(refusal(() => numbers(read({ inputs: [{ ...x, datatype, data }] })))).toContain(message);
  });
});

describe('a request with bytes', () => {
  const tensor = (size: unknown, name = 'x', shape = [1, 2, 3]) => ({
    name,
    shape,
    datatype: 'FP32',
    parameters: { binary_data_size: size },
  });
  const data = new Float32Array(item);

  it('has them in the order of its inputs', () => {
    const request = { inputs: [tensor(12, 'label', [1, 3]), tensor(24)] };
    const { inputs } = readInferRequest(...withBytes(request, new Float32Array([0, 0, 1]), data), CONDITIONAL);
    expect([...numbersOfTensor(inputs[0], { shape: [2, 3] })]).toEqual(item);
    expect(inputs.slice(1).map(classesOfTensor)).toEqual([[2]]);
  });

  it.each([0, -24, 23, 25, 48, 24.5, 1e300, '24', null, true])('is refused with a size of %s', (size) => {
    const message = refusal(() => readInferRequest(...withBytes({ inputs: [tensor(size)] }, data), GRAPH));
    expect(message).toContain('inputs[0].parameters.binary_data_size is ');
    expect(message).toContain('; expected 24: x as FP32 [1, 2, 3]');
  });

  it('is refused with bytes missing, left over, or for a shape beyond all bytes', () => {
    const short = withBytes({ inputs: [tensor(24)] }, data.subarray(1));
    expect(refusal(() => readInferRequest(...short, GRAPH))).toContain('is 24; the body has 20 bytes left for it');
    const long = withBytes({ inputs: [tensor(24)] }, data, new Uint8Array(3));
    expect(refusal(() => readInferRequest(...long, GRAPH))).toBe(
      'the body has 27 bytes after its JSON part; the binary_data_size of its inputs make 24',
    );
    const huge = withBytes({ inputs: [tensor(2 ** 40 * 24, 'x', [2 ** 40, 2, 3])] }, data);
    expect(refusal(() => readInferRequest(...huge, GRAPH))).toContain('the body has 24 bytes left for it');
    const overflow = withBytes({ inputs: [tensor(24, 'x', [2 ** 53 - 1, 2, 3])] }, data);
    expect(refusal(() => readInferRequest(...overflow, GRAPH))).toContain('binary_data_size is 24; expected 2161');
  });

  it.each(['-1', '', '1e2', '0x10', ' 5', '999999', '9999999999999999999', '12, 12', 'NaN'])(
    'is refused with a JSON part of %j bytes',
    (length) => {
      const [body] = withBytes({ inputs: [tensor(24)] }, data);
      expect(refusal(() => readInferRequest(body, length, GRAPH))).toContain('inference-header-content-length is ');
    },
  );

  it('may be one row and nothing else', () => {
    const request = readInferRequest(Buffer.from(data.buffer), '0', GRAPH);
    expect(numbers(request)).toEqual(item);
    expect(request.outputs.every(({ binary }) => binary)).toBe(true);
    expect(refusal(() => readInferRequest(Buffer.alloc(25), '0', GRAPH))).toBe(
      'the raw body has 25 bytes; expected 24: one x as FP32 [1, 2, 3]',
    );
    expect(refusal(() => readInferRequest(Buffer.alloc(24), '0', CONDITIONAL))).toContain(
      'a model with the inputs x and label takes no raw body',
    );
  });
});

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const tensors = fc
  .integer({ min: 1, max: 5 })
  .chain((rows) => fc.array(float32, { minLength: rows * 6, maxLength: rows * 6 }).map((values) => ({ rows, values })));

describe('whatever comes', () => {
  it('numbers come through in JSON, nested or flat, and as bytes', () => {
    fc.assert(
      fc.property(tensors, ({ rows, values }) => {
        const expected = values.map((value) => value + 0);
        const shape = [rows, 2, 3];
        const nested = Array.from({ length: rows }, (_, i) => [
          values.slice(i * 6, i * 6 + 3),
          values.slice(i * 6 + 3, i * 6 + 6),
        ]);
        // JSON has no -0.
        const plain = expected.map((value) => (Object.is(value, -0) ? 0 : value));
        expect(numbers(read({ inputs: [{ ...x, shape, data: values }] }))).toEqual(plain);
        expect(numbers(read({ inputs: [{ ...x, shape, data: nested }] }))).toEqual(plain);
        const data = new Float32Array(values);
        const tensor = { name: 'x', shape, datatype: 'FP32', parameters: { binary_data_size: data.byteLength } };
        expect(numbers(readInferRequest(...withBytes({ inputs: [tensor] }, data), GRAPH))).toEqual(values);
      }),
    );
  });

  it('an answer is what was to be said', async () => {
    await fc.assert(
      fc.asyncProperty(
        tensors,
        fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
        fc.option(fc.string(), { nil: undefined }),
        async ({ rows, values }, binary, id) => {
          const data = new Float32Array(values.map((value) => (Object.is(value, -0) ? 0 : value)));
          const outputs = binary.map((each, i) => ({ name: `o${i}`, shape: [2, 3], binary: each, data }));
          const { body, headerLength } = await inferAnswer({ model_name: 'm', id }, outputs, rows);
          if (typeof body !== 'string' && !Buffer.isBuffer(body)) throw new TypeError('so few numbers make no stream');
          const bytes = Buffer.from(body);
          const answer = JSON.parse(bytes.subarray(0, headerLength ?? bytes.byteLength).toString());
          expect(headerLength !== undefined).toBe(binary.includes(true));
          expect([answer.model_name, answer.id]).toEqual(['m', id]);
          let offset = headerLength ?? bytes.byteLength;
          for (const [i, output] of answer.outputs.entries()) {
            expect(output).toMatchObject({ name: `o${i}`, datatype: 'FP32', shape: [rows, 2, 3] });
            const size = output.parameters?.binary_data_size ?? 0;
            const numbers =
              output.data ?? new Float32Array(new Uint8Array(bytes.subarray(offset, offset + size)).buffer);
            expect([...numbers]).toEqual([...data]);
            offset += size;
          }
          expect(offset).toBe(bytes.byteLength);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('a large answer is the same in pieces', async () => {
    const data = Float32Array.from({ length: 100_000 }, (_, i) => i / 7);
    const outputs = [
      { name: 'a', shape: [50_000], binary: false, data },
      { name: 'b', shape: [50_000], binary: true, data },
    ];
    const { body, headerLength } = await inferAnswer({ model_name: 'm' }, outputs, 2);
    if (!Buffer.isBuffer(body)) throw new TypeError('expected bytes');
    const { outputs: answered } = JSON.parse(`${body.subarray(0, headerLength)}`);
    const bytes = Buffer.from(data.buffer);
    expect(Buffer.from(new Float32Array(answered[0].data).buffer).equals(bytes)).toBe(true);
    expect(body.subarray(headerLength).equals(bytes)).toBe(true);
  });

  it('bytes and lengths of any kind are read or refused', () => {
    const length = fc.option(fc.oneof(fc.string(), fc.integer({ min: -5, max: 200 }).map(String)), { nil: undefined });
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), length, readsOrRefuses));
  });

  it('JSON of any kind is read or refused', () => {
    const dimension = fc.oneof(fc.constantFrom(1, 2, 3, 2 ** 53, -1, 0), fc.double(), fc.jsonValue());
    const size = fc.oneof(fc.constantFrom(24, 48, 0, -24), fc.integer(), fc.jsonValue());
    const tensor = fc.record(
      {
        name: fc.constantFrom('x', 'label', '__proto__', 'y'),
        shape: fc.oneof(fc.constantFrom([1, 2, 3], [2, 2, 3], [1, 3]), fc.array(dimension)),
        datatype: fc.constantFrom('FP32', 'UINT8', 'INT64', 'BYTES', 'hasOwnProperty'),
        data: fc.oneof(fc.jsonValue(), fc.constant(item), fc.array(fc.jsonValue(), { minLength: 6, maxLength: 6 })),
        parameters: fc.oneof(fc.record({ binary_data_size: size }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const request = fc.record(
      {
        id: fc.oneof(fc.string(), fc.jsonValue()),
        inputs: fc.oneof(fc.array(tensor, { maxLength: 3 }), fc.jsonValue()),
        outputs: fc.oneof(fc.array(fc.record({ name: fc.constantFrom('mean', 'nope') })), fc.jsonValue()),
        parameters: fc.jsonValue(),
      },
      { requiredKeys: ['inputs'] },
    );
    fc.assert(
      fc.property(request, fc.uint8Array({ maxLength: 60 }), (value, tail) => {
        readsOrRefuses(...withBytes(value, tail));
      }),
      { numRuns: 1000 },
    );
  });

  function readsOrRefuses(body: Uint8Array, length: string | undefined): void {
    for (const signature of [GRAPH, CONDITIONAL]) {
      try {
        const { rows, inputs } = readInferRequest(body, length, signature);
        for (const tensor of inputs) {
          const size = tensor.shape.reduce((product, dimension) => product * dimension, rows);
          expect(numbersOfTensor(tensor, { shape: tensor.shape })).toHaveLength(size);
        }
      } catch (error) {
        if (!(error instanceof CodecError || error instanceof SyntaxError)) throw error;
      }
    }
  }
});
