import { gzipSync } from 'node:zlib';
import { RandomSource } from '@elbo/models';
import { encodeIdx, idxHeader } from './idx.js';
import { encodeNpy, NPY_TYPES, npyHeader } from './npy.js';
import { encodeZip } from './zip.js';

export interface MalformedFile {
  /** What is wrong with it. */
  readonly fault: string;
  /** Its extension says what it pretends to be. */
  readonly name: string;
  readonly content: Buffer;
}

/** Draws one file that is wrong for sure. */
type Maker = (random: RandomSource) => Omit<MalformedFile, 'name'> & { readonly extension: string };

const pick = <T>(random: RandomSource, items: readonly T[]): T => items[random.integer(items.length)];
const between = (random: RandomSource, low: number, high: number) => low + random.integer(high - low + 1);

function bytes(random: RandomSource, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, () => random.integer(256)));
}

const dictionary = (descr: string, shape: string) =>
  `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;

/** A whole file of each kind, with its extension. */
function whole(random: RandomSource): { content: Buffer; extension: string } {
  const shape = [between(random, 2, 6), between(random, 1, 4), between(random, 1, 4)];
  const count = shape[0] * shape[1] * shape[2];
  const npy = () => {
    const options = { shape, bigEndian: random.integer(2) === 1, fortranOrder: random.integer(2) === 1 };
    return encodeNpy({ ...options, type: pick(random, NPY_TYPES), values: new Array<number>(count).fill(1) });
  };
  switch (random.integer(5)) {
    case 0:
      return { content: npy(), extension: 'npy' };
    case 1:
      return {
        content: encodeZip([{ name: 'X.npy', content: npy(), stored: random.integer(2) === 1 }]),
        extension: 'npz',
      };
    case 2:
      return { content: encodeIdx(shape, bytes(random, count)), extension: 'idx' };
    case 3:
      return { content: gzipSync(encodeIdx(shape, bytes(random, count))), extension: 'gz' };
    default:
      return {
        content: encodeZip([
          { name: 'a.npy', content: npy() },
          { name: 'b.npy', content: npy() },
        ]),
        extension: 'npz',
      };
  }
}

const BOMB_BYTES = 200 << 20;

/** Hundreds of megabytes of zeros after a header; only read, so that they take no memory. */
function zeros(header: Buffer): Buffer {
  const all = Buffer.alloc(header.length + BOMB_BYTES);
  header.copy(all);
  return all;
}

const honest = `(${BOMB_BYTES / 1024}, 32, 32)`;
const lying = '(10, 32, 32)';
/** Made once, since that takes a while. */
const bombs = {
  npz: encodeZip([{ name: 'X.npy', content: zeros(npyHeader(dictionary('|u1', honest))) }]),
  gz: gzipSync(zeros(idxHeader([BOMB_BYTES / 1024, 32, 32]))),
  lyingGz: gzipSync(zeros(idxHeader([10, 32, 32]))),
  lyingNpz: encodeZip([
    { name: 'X.npy', content: zeros(npyHeader(dictionary('|u1', lying))), lie: { size: 128 + 10 * 1024 } },
  ]),
};

const makers: readonly Maker[] = [
  (random) => {
    const { content, extension } = whole(random);
    return { fault: 'cut off', extension, content: content.subarray(0, random.integer(content.length)) };
  },
  (random) => {
    const { content, extension } = whole(random);
    return {
      fault: 'wrong magic',
      extension,
      content: Buffer.concat([bytes(random, 1).fill(0x7f), content.subarray(1)]),
    };
  },
  (random) => {
    const { content } = whole(random);
    // No kind begins as another does, but gzip streams and plain files are both IDX.
    const [first] = content;
    const extension = pick(
      random,
      first === 0x93 ? ['npz', 'idx', 'csv'] : first === 0x50 ? ['npy', 'gz', 'csv'] : ['npy', 'npz'],
    );
    return { fault: 'another format', extension, content };
  },
  (random) => ({
    fault: 'lying shape',
    extension: 'npy',
    content: Buffer.concat([
      npyHeader(dictionary('<f4', `(${between(random, 7, 2 ** 31 - 1)}, ${between(random, 2, 2 ** 31 - 1)})`)),
      Buffer.alloc(24),
    ]),
  }),
  (random) => ({
    fault: 'lying dimensions',
    extension: pick(random, ['idx', 'gz']),
    content: (random.integer(2) === 0 ? gzipSync : Buffer.from)(
      encodeIdx([between(random, 13, 2 ** 31 - 1), between(random, 2, 2 ** 31 - 1)], new Uint8Array(24)),
    ) as Buffer,
  }),
  (random) => ({
    fault: 'wrong type',
    extension: 'npy',
    content: Buffer.concat([
      npyHeader(dictionary(pick(random, ['|O', '<U4', '<c8', '|S4', '<M8', '<f16', '|V8', 'f4', '<f3', '']), '(2, 3)')),
      bytes(random, 24),
    ]),
  }),
  (random) => {
    const content = encodeIdx([3, 4], bytes(random, 12));
    content.writeUInt8(pick(random, [0, 7, 9, 11, 12, 13, 14, 255]), 2);
    return { fault: 'wrong type', extension: 'idx', content };
  },
  (random) => {
    const entry = { name: 'X.npy', content: encodeNpy({ type: 'f4', shape: [3, 2], values: [1, 2, 3, 4, 5, 6] }) };
    const lie = pick(random, [
      { size: between(random, 0, 2 ** 32 - 1) },
      { crc: random.uint32() },
      { compressedSize: between(random, 0, 2 ** 32 - 1) },
      { method: between(random, 1, 7) },
      { flags: 1 },
      { offset: between(random, 1, 2 ** 32 - 1) },
    ]);
    return { fault: 'lying archive', extension: 'npz', content: encodeZip([{ ...entry, lie }]) };
  },
  (random) => {
    const [extension, content] = pick(random, [
      ['npz', bombs.npz],
      ['gz', bombs.gz],
      ['gz', bombs.lyingGz],
      ['npz', bombs.lyingNpz],
    ] as const);
    return { fault: 'bomb', extension, content };
  },
  (random) => ({
    fault: 'not finite',
    extension: 'npy',
    content: encodeNpy({
      type: pick(random, ['f4', 'f8'] as const),
      shape: [4, 2],
      values: [1, 2, 3, 4, 5, 6, 7, pick(random, [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])],
    }),
  }),
  (random) => ({
    fault: 'bad table',
    extension: 'csv',
    content: Buffer.from(
      pick(random, [
        'a,b\n1,2\n3\n',
        'a,b\n1,2\n3,4,5\n',
        'a,a\n1,2\n',
        ',b\n1,2\n',
        '1,2\n3,4\n',
        'a,b\n1,\n2,\n',
        'a,b\n1,two\n2,3\n',
        'a,b\n1,2\n2,-NaN\n',
        `<html>\n${Array.from({ length: 50 }, (_, i) => `<p>${i}\n`).join('')}`,
        'a,b\n',
        'a,b\n1,"2\n',
        'a;b,c;d\n1;2,3;4\n',
        'a\n1e999\n',
        `a,b\n1,2${','.repeat(1000)}\n`,
        `"${'x'.repeat(100_000)}`,
        '{"a": [1, 2]}',
        '<html>\n<body>\n',
      ]),
    ),
  }),
  (random) => ({
    fault: 'noise',
    extension: pick(random, ['npy', 'npz', 'idx', 'gz', 'csv']),
    content: bytes(random, between(random, 0, 400)),
  }),
  (random) => ({
    fault: 'empty',
    extension: pick(random, ['npy', 'npz', 'idx', 'gz', 'csv']),
    content: Buffer.alloc(0),
  }),
];

/** Files that no loader may take, of every kind in turn; the same seed gives the same files. */
export function malformedFiles(count: number, seed: number): MalformedFile[] {
  const random = new RandomSource(seed);
  return Array.from({ length: count }, (_, i) => {
    const { fault, extension, content } = makers[i % makers.length](random);
    return { fault, name: `${i}.${extension}`, content };
  });
}
