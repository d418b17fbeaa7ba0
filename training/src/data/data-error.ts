/** Unusable data or a wrong request for it. The message is one line that says what was found and what was expected. */
export class DataError extends Error {
  override readonly name = 'DataError';

  constructor(message: string, options?: ErrorOptions) {
    super(printable(message), options);
  }
}

/** Names and contents of files come from anywhere: their control characters must not reach a terminal, nor break the line. */
function printable(message: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return message.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) =>
    JSON.stringify(character).slice(1, -1),
  );
}
