/** Unusable data or a wrong request for it. The message is one line that says what was found and what was expected. */
export class DataError extends Error {
  override readonly name = 'DataError';
}
