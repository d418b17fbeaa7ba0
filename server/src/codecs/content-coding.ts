import { type Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { CodecError } from './errors.js';

const CHUNK = { chunkSize: 64 * 1024 };

/** What takes each content coding off again, in Node's thread pool. */
const DECODERS = {
  gzip: () => createGunzip(CHUNK),
  deflate: () => createInflate(CHUNK),
  br: () => createBrotliDecompress(CHUNK),
} as const;

export type ContentCoding = keyof typeof DECODERS;

/** Codings that a body may have, as `accept-encoding` names them. */
export const CONTENT_CODINGS = Object.keys(DECODERS) as readonly ContentCoding[];

/**
 * The coding that a `content-encoding` header tells of; null for none, undefined for one that is not known here, or several.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
 */
export function codingOf(header: string): ContentCoding | null | undefined {
  const [coding, ...more] = header
    .toLowerCase()
    .split(',')
    .map((name) => name.trim().replace(/^x-gzip$/, 'gzip'))
    .filter((name) => name !== '' && name !== 'identity');
  if (coding === undefined) return null;
  return more.length > 0 ? undefined : CONTENT_CODINGS.find((known) => known === coding);
}

/** Errors of zlib and Brotli that tell of the bytes, and not of this machine. */
const BROKEN = /^(?:Z_BUF_ERROR|Z_DATA_ERROR|Z_NEED_DICT|ERR__ERROR_FORMAT)/;

/**
 * A body without its coding, which is taken off no faster than it is read.
 * @param source what is left of it is dropped where the result fails or is destroyed
 * @param limit bytes that the body may have; it fails as soon as there are more, whatever the source still holds
 * @param onBytes hears of bytes of the body before they are given on; the body fails with what it throws
 * @returns a stream that fails with a CodecError: BODY_TOO_LARGE, or INVALID_CODING for what is cut off or no such coding
 */
export function decodedBody(
  source: Readable,
  coding: ContentCoding,
  limit: number,
  onBytes: (bytes: number) => void = () => {},
): Readable {
  const decoder = DECODERS[coding]();
  let given = 0;
  let left = limit;
  const count = (chunk: Buffer) => {
    given += chunk.length;
  };
  const body = new Transform({
    transform: (piece: Buffer, _encoding, done) => {
      left -= piece.length;
      if (left < 0) return done(new CodecError('BODY_TOO_LARGE', `the body has more than the limit of ${limit} bytes`));
      try {
        onBytes(piece.length);
      } catch (error) {
        return done(error as Error);
      }
      done(null, piece);
    },
    flush: (done) => {
      // A decoder stops where its coding ends, and doesn't look at what comes then.
      source.unpipe(decoder);
      const end = () => done(given > decoder.bytesWritten ? invalid(coding, 'there are bytes after its end') : null);
      if (source.readableEnded) end();
      else source.once('end', end).resume();
    },
    destroy: (error, done) => {
      source.off('data', count).unpipe(decoder);
      source.resume();
      decoder.destroy();
      done(error);
    },
  });
  // It may fail before anybody reads it, or when nobody does any more.
  body.on('error', () => {});
  // Not by `pipeline`, which would destroy the source with the others: the answer goes over its connection.
  decoder.on('error', (error: NodeJS.ErrnoException) => body.destroy(explained(error, coding))).pipe(body);
  source.on('error', (error) => body.destroy(error));
  source.on('close', () => {
    if (!source.readableEnded) body.destroy(new Error('the body ended early'));
  });
  source.on('data', count).pipe(decoder);
  return body;
}

function explained(error: NodeJS.ErrnoException, coding: ContentCoding): Error {
  const { code = '', message } = error;
  if (!BROKEN.test(code)) return error;
  return invalid(coding, code === 'Z_BUF_ERROR' ? 'it ends early' : message.toLowerCase(), error);
}

function invalid(coding: ContentCoding, what: string, cause?: unknown): CodecError {
  const form = coding === 'deflate' ? 'deflate (the form of zlib)' : coding;
  return new CodecError('INVALID_CODING', `header content-encoding is ${coding}; the body is not ${form}: ${what}`, {
    cause,
  });
}
