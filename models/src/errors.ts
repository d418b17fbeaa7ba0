/** What can be wrong with a model store, as a caller may want to tell the cases apart. */
export type ModelStoreErrorCode = 'MODEL_NOT_FOUND' | 'MANIFEST_INVALID' | 'FILE_CORRUPT';

/** An unreadable, incomplete or altered model version; the message names the model and what is wrong with it. */
export class ModelStoreError extends Error {
  override readonly name = 'ModelStoreError';
  readonly code: ModelStoreErrorCode;

  constructor(code: ModelStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
