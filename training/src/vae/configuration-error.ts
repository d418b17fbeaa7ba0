/** A configuration that cannot be used; the message names the field and what it should hold. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}
