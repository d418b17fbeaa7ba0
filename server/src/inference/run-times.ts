/** How long the runs of one request took, in milliseconds; filled in while they happen. */
export class RunTimes {
  /** Between the submission and the start of the batch. */
  queue = 0;
  /** From the start of the batch to its outputs. */
  inference = 0;
}
