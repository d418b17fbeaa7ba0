/** What the parts of a request took, in milliseconds; filled in while it runs. */
export class RunTimes {
  /** From being handed to the scheduler until the last of its rows went to a worker. */
  queue = 0;
  /** From then until its outputs were back. */
  inference = 0;
}
