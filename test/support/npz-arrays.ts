import { fromBufferPromise } from 'yauzl';

/** The arrays of a .npz file as plain numbers or texts, read by the format's description: row-major, little-endian. */
export async function npzArrays(archive: Buffer): Promise<Record<string, { shape: number[]; values: unknown[] }>> {
  const zip = await fromBufferPromise(archive, { lazyEntries: true });
  const arrays: Record<string, { shape: number[]; values: unknown[] }> = {};
  for await (const entry of zip.eachEntry()) {
    const chunks: Buffer[] = [];
    for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
    arrays[entry.fileName.replace(/\.npy$/, '')] = decoded(Buffer.concat(chunks));
  }
  return arrays;
}

function decoded(file: Buffer): { shape: number[]; values: unknown[] } {
  const start = 10 + file.readUInt16LE(8);
  const header = file.toString('latin1', 10, start);
  const [, type = ''] = /'descr': '([^']+)'/.exec(header) ?? [];
  const [, dimensions = ''] = /'shape': \(([^)]*)\)/.exec(header) ?? [];
  const shape = dimensions.split(',').filter(Boolean).map(Number);
  const data = file.subarray(start);
  const [, length] = /^<U(\d+)$/.exec(type) ?? [];
  if (length !== undefined) {
    const size = 4 * Number(length);
    const texts = Array.from({ length: shape[0] ?? 0 }, (_, i) =>
      Array.from({ length: Number(length) }, (_, j) => data.readUInt32LE(i * size + 4 * j))
        .filter((point) => point !== 0)
        .map((point) => String.fromCodePoint(point))
        .join(''),
    );
    return { shape, values: texts };
  }
  const [bytes, read] = READERS[type] ?? [1, () => Number.NaN];
  return { shape, values: Array.from({ length: data.length / bytes }, (_, i) => read(data, i * bytes)) };
}

const READERS: Readonly<Record<string, [bytes: number, read: (data: Buffer, at: number) => number]>> = {
  '<f4': [4, (data, at) => data.readFloatLE(at)],
  '<f8': [8, (data, at) => data.readDoubleLE(at)],
  '<i4': [4, (data, at) => data.readInt32LE(at)],
  '|b1': [1, (data, at) => data.readUInt8(at)],
};
