/** What can be wrong with a caller's bytes. */
export type CodecErrorCode =
  | 'INVALID_CODING'
  | 'INVALID_INPUT'
  | 'INVALID_JSON'
  | 'INVALID_IMAGE'
  | 'IMAGE_TOO_LARGE'
  | 'BODY_TOO_LARGE'
  | 'TOO_MANY_ITEMS'
  | 'REQUEST_TIMEOUT';

/** Bytes or numbers that are not what they should be; the message names the field and what was expected there. */
export class CodecError extends Error {
  override readonly name = 'CodecError';
  readonly code: CodecErrorCode;

  constructor(code: CodecErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
