/** Time as the scheduler sees it, so that tests decide when it passes. */
export interface Clock {
  /** Milliseconds since some fixed moment. */
  now(): number;
  /** Calls back once after so many milliseconds. @returns what takes that back */
  after(milliseconds: number, callback: () => void): () => void;
  /** Calls back once everything that has arrived by now was read. */
  soon(callback: () => void): void;
}

/** @see https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, callback) => {
    // Node calls back at once instead; nothing here lives for these 25 days.
    if (milliseconds > LONGEST_TIMER_MS) return () => {};
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
  // Immediates run after all sockets that had something were read (libuv: poll, then check).
  soon: (callback) => void setImmediate(callback),
};
