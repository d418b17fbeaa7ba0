/** What can go wrong between a request and its result, as a caller may want to tell the cases apart. */
export type InferenceErrorCode =
  /** The items accepted already fill the queue; try again soon. */
  | 'OVERLOADED'
  /** One request with more items than the queue can ever hold. */
  | 'TOO_MANY_ITEMS'
  /** The worker that had the request died. */
  | 'WORKER_LOST'
  /** The request waited or ran for longer than it may. */
  | 'TIMED_OUT'
  /** Nobody waits for the result any more. */
  | 'CANCELLED'
  /** The service is stopping, or no worker could be started again. */
  | 'UNAVAILABLE'
  /** A graph gave NaN or Infinity for what it was given. */
  | 'OUTPUT_NOT_FINITE'
  | 'MODEL_NOT_FOUND'
  /** A false positive rate that the model's calibration can't state. */
  | 'RATE_NOT_STATED'
  /** The execution provider can't be used on this machine. */
  | 'PROVIDER_UNAVAILABLE'
  /** A model version whose graphs don't keep to its manifest. */
  | 'MODEL_REFUSED'
  /** The device has no memory for the batch; a smaller one may fit. */
  | 'OUT_OF_MEMORY'
  /** ONNX Runtime failed on a run that it should have done. */
  | 'RUN_FAILED';

export class InferenceError extends Error {
  override readonly name = 'InferenceError';
  readonly code: InferenceErrorCode;

  constructor(code: InferenceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
