import type { Multipart } from '@fastify/multipart';
import { CodecError } from './errors.js';

/** Files in one form at most; what a service with a smaller queue takes is less. */
export const MAX_FILES = 4096;

/** Bytes of a field's name and of a label at most. */
const MAX_TEXT_BYTES = 256;

/** What the parser of forms is told; `bodyLimit` is of all files together, so it is of each. */
export function multipartLimits(bodyLimit: number): Readonly<Record<string, number>> {
  return {
    files: MAX_FILES,
    fields: MAX_FILES,
    parts: 2 * MAX_FILES,
    fileSize: bodyLimit,
    fieldNameSize: MAX_TEXT_BYTES,
    fieldSize: MAX_TEXT_BYTES,
    headerPairs: 16,
  };
}

/** A part with a file is one that says so: with a file's name, or with a type that no text has. */
export function isPartAFile(_field: string | undefined, type: string | undefined, name: string | undefined): boolean {
  return name !== undefined || type === 'application/octet-stream' || type?.startsWith('image/') === true;
}

export interface FileOfForm {
  /** How it is called in messages: the form's field and its place among the files, never its own name. */
  readonly field: string;
  readonly bytes: Buffer;
}

/** A `multipart/form-data` body. */
export interface Form {
  /** In their order; at least one. */
  readonly files: readonly FileOfForm[];
  /** Fields called `labels`, as text, in their order. */
  readonly labels?: readonly string[];
}

/**
 * Reads a form: files under whatever field names, and a class of each in fields called `labels`. Files are kept in memory;
 * nothing that the caller calls them is ever a path.
 * @param bodyLimit bytes of all files together at most
 * @throws {CodecError} INVALID_INPUT for another field or what is no form, BODY_TOO_LARGE, TOO_MANY_ITEMS
 */
export async function readForm(parts: AsyncIterable<Multipart>, bodyLimit: number): Promise<Form> {
  const files: FileOfForm[] = [];
  const labels: string[] = [];
  let left = bodyLimit;
  try {
    for await (const part of parts) {
      if (part.type === 'field') {
        const name = JSON.stringify(part.fieldname.slice(0, 64));
        if (part.fieldname !== 'labels') {
          throw invalid(`form field ${name} is unknown; expected image files and, of conditional models, labels`);
        }
        if (typeof part.value !== 'string' || part.valueTruncated) {
          throw invalid(`form field labels has a value of more than ${MAX_TEXT_BYTES} bytes; expected a class`);
        }
        labels.push(part.value);
        continue;
      }
      const field = `form field ${JSON.stringify(part.fieldname.slice(0, 64))} (file ${files.length})`;
      const pieces: Buffer[] = [];
      for await (const piece of part.file) {
        left -= (piece as Buffer).length;
        if (left < 0 || part.file.truncated) throw tooLarge(bodyLimit);
        pieces.push(piece as Buffer);
      }
      if (part.file.truncated) throw tooLarge(bodyLimit);
      files.push({ field, bytes: Buffer.concat(pieces) });
    }
  } catch (error) {
    throw codecErrorOf(error as Error & { code?: string }, bodyLimit);
  }
  if (files.length === 0) throw invalid('the form has no file; expected one image at least');
  return { files, ...(labels.length > 0 && { labels }) };
}

function codecErrorOf(error: Error & { code?: string }, bodyLimit: number): Error {
  switch (error.code) {
    case 'FST_PARTS_LIMIT':
    case 'FST_FILES_LIMIT':
    case 'FST_FIELDS_LIMIT':
      return new CodecError('TOO_MANY_ITEMS', `the form has more than the limit of ${MAX_FILES} files`, {
        cause: error,
      });
    case 'FST_REQ_FILE_TOO_LARGE':
      return tooLarge(bodyLimit);
    default:
      if (error instanceof CodecError) return error;
      return new CodecError('INVALID_INPUT', `the body is not multipart/form-data: ${error.message}`, { cause: error });
  }
}

function tooLarge(bodyLimit: number): CodecError {
  return new CodecError('BODY_TOO_LARGE', `the files have more than the limit of ${bodyLimit} bytes`);
}

function invalid(message: string): CodecError {
  return new CodecError('INVALID_INPUT', message);
}
