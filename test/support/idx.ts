/** An IDX file of bytes, header and values, as the format's description says. */
export function encodeIdx(shape: readonly number[], values: Uint8Array): Buffer {
  return Buffer.concat([idxHeader(shape), values]);
}

/** Everything before the values. */
export function idxHeader(shape: readonly number[]): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.writeUInt8(0x08, 2);
  header.writeUInt8(shape.length, 3);
  shape.forEach((dimension, i) => {
    header.writeUInt32BE(dimension, 4 + 4 * i);
  });
  return header;
}
