import { crc32, deflateRawSync } from 'node:zlib';

export interface ZipEntry {
  readonly name: string;
  readonly content: Uint8Array;
  readonly stored?: boolean;
  /** What the central directory says instead of the truth. */
  readonly lie?: {
    readonly size?: number;
    readonly compressedSize?: number;
    readonly crc?: number;
    readonly method?: number;
    readonly flags?: number;
    readonly offset?: number;
  };
}

/** A zip archive (PKWARE's APPNOTE, without Zip64), as numpy.savez and numpy.savez_compressed write them. */
export function encodeZip(entries: readonly ZipEntry[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const { name, content, stored, lie = {} } of entries) {
    const data = stored ? Buffer.from(content) : deflateRawSync(content);
    const fileName = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(lie.flags ?? 0, 2);
    common.writeUInt16LE(lie.method ?? (stored ? 0 : 8), 4);
    common.writeUInt32LE(lie.crc ?? crc32(content), 10);
    common.writeUInt32LE(lie.compressedSize ?? data.length, 14);
    common.writeUInt32LE(lie.size ?? content.length, 18);
    common.writeUInt16LE(fileName.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, fileName, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(lie.offset ?? offset, 10);
    locals.push(local);
    centrals.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, tail, fileName]));
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, directory, end]);
}
