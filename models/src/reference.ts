import { type Static, Type } from 'typebox';
import { ModelStoreError } from './errors.js';

/** The reference data of a version, each in a file of its own. */
export const REFERENCE_FILES = {
  codes: 'reference-codes.u8',
  map: 'reference-map.u16',
  labels: 'reference-labels.u16',
  rows: 'reference-items.f32',
  sprites: 'reference-items.webp',
} as const;

/** Examples that a version refers to, at most. */
export const MAX_REFERENCE_POINTS = 20_000;

/** Tables of more columns are shown without their rows. */
export const MAX_REFERENCE_COLUMNS = 64;

const LARGEST_BYTE = 255;
const LARGEST_UINT16 = 65_535;

const Side = Type.Integer({ minimum: 1, maximum: 9999 });

export const ReferenceSchema = Type.Object(
  {
    count: Type.Integer({
      minimum: 1,
      maximum: MAX_REFERENCE_POINTS,
      description: 'Examples N of the validation part, evenly spread over it',
    }),
    codes: Type.Object(
      {
        file: Type.Literal(REFERENCE_FILES.codes),
        minimum: Type.Array(Type.Number(), { description: 'Of each latent dimension' }),
        maximum: Type.Array(Type.Number(), { description: 'Of each latent dimension' }),
      },
      { description: 'Posterior means, bytes [N, Z], row-major: minimum + byte / 255 * (maximum - minimum)' },
    ),
    map: Type.Optional(
      Type.Object(
        { file: Type.Literal(REFERENCE_FILES.map) },
        {
          description:
            'A plane on which similar codes are near each other (UMAP): x and y of each example, little-endian uint16 [N, 2], the same scale on both axes',
        },
      ),
    ),
    principal_components: Type.Object(
      {
        mean: Type.Array(Type.Number(), { description: 'Of the codes' }),
        axes: Type.Tuple([Type.Array(Type.Number()), Type.Array(Type.Number())], {
          description: 'Unit vectors of the plane in which the codes spread most',
        }),
        explained: Type.Tuple([Type.Number({ minimum: 0, maximum: 1 }), Type.Number({ minimum: 0, maximum: 1 })], {
          description: 'Share of the whole variance along each axis',
        }),
      },
      { description: 'A code is near mean + p axes, where p = axes (code - mean)' },
    ),
    labels: Type.Optional(
      Type.Object(
        {
          file: Type.Literal(REFERENCE_FILES.labels),
          names: Type.Array(Type.String({ minLength: 1 }), {
            minItems: 1,
            maxItems: LARGEST_UINT16 + 1,
            description: 'Of each class',
          }),
        },
        { description: 'The class of each example, little-endian uint16 [N]' },
      ),
    ),
    items: Type.Optional(
      Type.Union([
        Type.Object(
          {
            kind: Type.Literal('sprites'),
            file: Type.Literal(REFERENCE_FILES.sprites),
            columns: Type.Integer({ minimum: 1, maximum: MAX_REFERENCE_POINTS, description: 'Tiles in a row' }),
            tile: Type.Optional(
              Type.Tuple([Side, Side], {
                description: "Width and height of a tile in pixels; the size of the model's images where left out",
              }),
            ),
          },
          { description: 'All images in one picture, tile by tile in reading order, without gaps' },
        ),
        Type.Object(
          { kind: Type.Literal('rows'), file: Type.Literal(REFERENCE_FILES.rows) },
          { description: 'Rows of a table, little-endian float32 [N, columns]; NaN: missing' },
        ),
      ]),
    ),
  },
  { description: 'Held-out examples that a picture of the latent space is made of' },
);
export type Reference = Static<typeof ReferenceSchema>;

/** What a manifest says that bears on its reference data. */
interface Described {
  readonly input: { readonly kind: 'image' | 'vector'; readonly shape: readonly number[] };
  readonly latent: { readonly size: number };
  readonly files: Readonly<Record<string, { readonly bytes: number }>>;
  readonly reference?: Reference | undefined;
}

/** The files that reference data stand in. */
export function referenceFiles({ codes, map, labels, items }: Reference): string[] {
  return [codes, map, labels, items].flatMap((part) => (part === undefined ? [] : [part.file]));
}

/** Says what is wrong with a manifest's reference data, the field and what was expected; undefined where nothing is. */
export function referenceProblem({ input, latent, files, reference }: Described): string | undefined {
  const named = reference === undefined ? [] : referenceFiles(reference);
  const unnamed = Object.values(REFERENCE_FILES).find((file) => Object.hasOwn(files, file) && !named.includes(file));
  if (unnamed !== undefined) return `files lists ${unnamed}; expected only what reference names`;
  if (reference === undefined) return undefined;
  const { count, codes, labels, items, principal_components: components } = reference;
  const ofEachDimension = {
    'codes.minimum': codes.minimum,
    'codes.maximum': codes.maximum,
    'principal_components.mean': components.mean,
    'principal_components.axes.0': components.axes[0],
    'principal_components.axes.1': components.axes[1],
  };
  for (const [field, numbers] of Object.entries(ofEachDimension)) {
    if (numbers.length !== latent.size) {
      return `reference.${field} has ${numbers.length} numbers; expected latent.size = ${latent.size}`;
    }
  }
  const reversed = codes.minimum.findIndex((low, i) => !(low <= (codes.maximum[i] ?? Number.NaN)));
  if (reversed !== -1) return `reference.codes.minimum.${reversed} is above the maximum; expected at most that`;
  if (labels !== undefined && new Set(labels.names).size < labels.names.length) {
    return 'reference.labels.names has a name twice; expected names that differ';
  }
  if (items !== undefined && (items.kind === 'sprites') !== (input.kind === 'image')) {
    return `reference.items.kind is ${items.kind}; expected sprites for images and rows for tables`;
  }
  const [columns = 0] = input.shape;
  if (items?.kind === 'rows' && columns > MAX_REFERENCE_COLUMNS) {
    return `reference.items has rows of ${columns} columns; expected at most ${MAX_REFERENCE_COLUMNS}`;
  }
  const sizes: Readonly<Record<string, number>> = {
    [REFERENCE_FILES.codes]: count * latent.size,
    [REFERENCE_FILES.map]: count * 4,
    [REFERENCE_FILES.labels]: count * 2,
    [REFERENCE_FILES.rows]: count * columns * 4,
  };
  for (const file of named) {
    const bytes = files[file]?.bytes;
    if (bytes === undefined) return `files must list ${file}, which reference names`;
    const expected = sizes[file] ?? bytes;
    if (bytes !== expected) {
      return `files says that ${file} has ${bytes} bytes; expected ${expected} of reference.count = ${count}`;
    }
  }
  return undefined;
}

/**
 * Holds the content of the files against what the manifest says of them, beyond their sizes.
 * @throws {ModelStoreError} FILE_CORRUPT, naming the file
 */
export function checkReference(
  { input, reference }: Pick<Described, 'input'> & { readonly reference: Reference },
  files: ReadonlyMap<string, Uint8Array>,
): void {
  const { count, labels, items } = reference;
  const contentOf = (file: string): Buffer => {
    const content = files.get(file);
    if (content === undefined) throw new ModelStoreError('FILE_CORRUPT', `${file}: reference names it; expected it`);
    return Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  };
  if (labels !== undefined) {
    const classes = decodeUint16(contentOf(labels.file));
    const at = classes.findIndex((label) => label >= labels.names.length);
    if (at !== -1) {
      throw new ModelStoreError(
        'FILE_CORRUPT',
        `${labels.file}: entry ${at} is ${classes[at]}; expected below ${labels.names.length}, the names`,
      );
    }
  }
  if (items === undefined) return;
  const content = contentOf(items.file);
  if (items.kind === 'rows') {
    for (let at = 0; at < content.length; at += 4) {
      if (Math.abs(content.readFloatLE(at)) === Number.POSITIVE_INFINITY) {
        throw new ModelStoreError(
          'FILE_CORRUPT',
          `${items.file}: entry ${at / 4} is infinite; expected a number or NaN`,
        );
      }
    }
    return;
  }
  const size = webpSize(content);
  if (size === undefined) {
    throw new ModelStoreError('FILE_CORRUPT', `${items.file}: it is no such picture; expected what its name says`);
  }
  const [, high = 0, wide = 0] = input.shape;
  const [width, height] = items.tile ?? [wide, high];
  const expected = [width * Math.min(items.columns, count), height * Math.ceil(count / items.columns)];
  if (size[0] !== expected[0] || size[1] !== expected[1]) {
    throw new ModelStoreError(
      'FILE_CORRUPT',
      `${items.file}: it has ${size.join(' x ')} pixels; expected ${expected.join(' x ')}, ${count} tiles of ${width} x ${height} in ${items.columns} columns`,
    );
  }
}

/**
 * Width and height in pixels, as the first chunk of a WebP file says; undefined where it is none.
 * @see https://www.rfc-editor.org/rfc/rfc9649#section-2
 */
function webpSize(content: Buffer): [number, number] | undefined {
  const text = (start: number, end: number) => content.toString('latin1', start, end);
  if (content.length < 30 || text(0, 4) !== 'RIFF' || text(8, 12) !== 'WEBP') return undefined;
  const chunk = text(12, 16);
  if (chunk === 'VP8X') return [content.readUIntLE(24, 3) + 1, content.readUIntLE(27, 3) + 1];
  if (chunk === 'VP8 ') return [content.readUInt16LE(26) & 0x3fff, content.readUInt16LE(28) & 0x3fff];
  if (chunk !== 'VP8L') return undefined;
  // 14 bits each, less one, after the byte 0x2f.
  const bits = content.readUInt32LE(21);
  return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
}

/**
 * Codes as bytes: of each dimension, its smallest number is 0 and its largest 255, so that none is further off than half a
 * step, (maximum − minimum) / 510.
 * @param codes [N, size], row-major, finite
 */
export function encodeCodes(
  codes: Float32Array,
  size: number,
): { readonly bytes: Uint8Array; readonly minimum: number[]; readonly maximum: number[] } {
  const minimum = new Array<number>(size).fill(Number.POSITIVE_INFINITY);
  const maximum = new Array<number>(size).fill(Number.NEGATIVE_INFINITY);
  for (const [i, value] of codes.entries()) {
    const j = i % size;
    minimum[j] = Math.min(minimum[j] as number, value);
    maximum[j] = Math.max(maximum[j] as number, value);
  }
  const bytes = Uint8Array.from(codes, (value, i) => {
    const [low, high] = [minimum[i % size] as number, maximum[i % size] as number];
    return high > low ? Math.round((LARGEST_BYTE * (value - low)) / (high - low)) : 0;
  });
  return { bytes, minimum, maximum };
}

/** What the bytes of `encodeCodes` stand for, [N, size]. */
export function decodeCodes(
  bytes: Uint8Array,
  { minimum, maximum }: Pick<Reference['codes'], 'minimum' | 'maximum'>,
): Float32Array {
  const size = minimum.length;
  return Float32Array.from(bytes, (byte, i) => {
    const [low, high] = [minimum[i % size] as number, maximum[i % size] as number];
    return low + (byte / LARGEST_BYTE) * (high - low);
  });
}

/**
 * Points of a plane on a grid that their longer side fills, the shorter one in its middle.
 * @param points x, y of each in turn, finite
 */
export function encodeMap(points: Float64Array): Uint8Array {
  const ends = [0, 1].map((axis) => {
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let at = axis; at < points.length; at += 2) {
      low = Math.min(low, points[at] as number);
      high = Math.max(high, points[at] as number);
    }
    return { middle: (low + high) / 2, length: high - low };
  });
  const longest = Math.max(...ends.map(({ length }) => length));
  return encodeUint16(
    Uint16Array.from(points, (value, at) => {
      const fromMiddle = longest > 0 ? (value - (ends[at % 2]?.middle ?? 0)) / longest : 0;
      return Math.round((0.5 + fromMiddle) * LARGEST_UINT16);
    }),
  );
}

/** Little-endian on every machine. */
export function encodeUint16(values: Uint16Array): Uint8Array {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [i, value] of values.entries()) bytes.writeUInt16LE(value, i * 2);
  return bytes;
}

export function decodeUint16(bytes: Buffer): Uint16Array {
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(i * 2));
}
