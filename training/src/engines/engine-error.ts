/** An engine or a device that this machine does not have, or something that an engine cannot do. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
}
