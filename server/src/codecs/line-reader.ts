import type { Readable } from 'node:stream';
import { CodecError } from './errors.js';

export interface LineLimits {
  /** Lines that are handed out at once at most. */
  readonly lines: number;
  /** Bytes of one line at most; about as many wait at most, however long the source. */
  readonly bytes: number;
  /** Time that a line may take to arrive once it is waited for. */
  readonly milliseconds: number;
}

/** A line and its number, from 1. */
export interface Line {
  readonly text: string;
  readonly number: number;
}

const NEWLINE = 10;

/** A line of ASCII's white space alone. */
const BLANK = /^[\t-\r ]*$/;

function isBlank(byte: number | undefined): boolean {
  return byte === 32 || (byte !== undefined && byte >= 9 && byte <= 13);
}

/**
 * Lines of text as they arrive, while those before them are worked on: whoever asks gets what is there, at once, and the
 * source is read no further than to the next `lines` lines. Blank lines are left out, though counted.
 */
export class LineReader {
  readonly #source: Readable;
  readonly #limits: LineLimits;
  #waiting: Line[] = [];
  #bytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: () => void = () => {};

  constructor(source: Readable, limits: LineLimits) {
    this.#source = source;
    this.#limits = limits;
    void this.#read();
  }

  /**
   * The lines that are there, at least one; none where the source has ended.
   * @throws {CodecError} BODY_TOO_LARGE for a line that is too long, REQUEST_TIMEOUT for one that does not come, once the
   *   lines before it are handed out
   * @throws {Error} what the source fails with
   */
  async next(): Promise<readonly Line[]> {
    const { milliseconds } = this.#limits;
    const deadline = setTimeout(() => {
      this.#end(
        new CodecError('REQUEST_TIMEOUT', `no whole line arrived within ${milliseconds / 1000} seconds of the last`),
      );
    }, milliseconds);
    try {
      while (this.#waiting.length === 0 && !this.#ended) await this.#woken();
    } finally {
      clearTimeout(deadline);
    }
    if (this.#waiting.length === 0 && this.#error !== undefined) throw this.#error;
    const lines = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    this.#wake();
    return lines;
  }

  /** Reads no more; the source is left as it is. */
  stop(): void {
    this.#end(new Error('stopped'));
  }

  async #read(): Promise<void> {
    try {
      let number = 0;
      let parts: Buffer[] = [];
      let length = 0;
      let blank = 0;
      const countBlank = (bytes: number): void => {
        blank += bytes;
        if (blank > this.#limits.bytes) {
          throw new CodecError(
            'BODY_TOO_LARGE',
            `the blank lines up to line ${number} have more than the limit of ${this.#limits.bytes} bytes`,
          );
        }
      };
      // A compressed body of few bytes has millions of blank lines, for which there is no answer to wait for.
      const skipBlank = (bytes: Buffer, start: number): number => {
        let end = start;
        for (let at = start; isBlank(bytes[at]); at++) {
          if (bytes[at] !== NEWLINE) continue;
          number++;
          countBlank(at + 1 - end);
          end = at + 1;
        }
        return end;
      };
      const add = async (): Promise<void> => {
        number++;
        const text = Buffer.concat(parts).toString('utf8');
        parts = [];
        if (BLANK.test(text)) countBlank(length + 1);
        else {
          this.#waiting.push({ text: text.trim(), number });
          this.#bytes += length;
          blank = 0;
        }
        length = 0;
        this.#wake();
        while (this.#isFull && !this.#ended) await this.#woken();
      };
      const keep = (part: Buffer): void => {
        length += part.length;
        if (length > this.#limits.bytes) {
          throw new CodecError(
            'BODY_TOO_LARGE',
            `line ${number + 1} has more than the limit of ${this.#limits.bytes} bytes`,
          );
        }
        parts.push(part);
      };
      for await (const chunk of this.#source.iterator({ destroyOnReturn: false })) {
        const bytes = chunk as Buffer;
        let start = length === 0 ? skipBlank(bytes, 0) : 0;
        for (let end = bytes.indexOf(NEWLINE, start); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
          keep(bytes.subarray(start, end));
          await add();
          if (this.#ended) return;
          start = skipBlank(bytes, end + 1);
        }
        if (start < bytes.length) keep(bytes.subarray(start));
        if (this.#ended) return;
      }
      await add();
      this.#end(undefined);
    } catch (error) {
      this.#end(error as Error);
    }
  }

  get #isFull(): boolean {
    return this.#waiting.length >= this.#limits.lines || this.#bytes >= this.#limits.bytes;
  }

  #end(error: Error | undefined): void {
    if (this.#ended) return;
    this.#error = error;
    this.#ended = true;
    this.#wake();
  }

  /** Until something changes: the reader waits only while lines are there, its caller only while there are none. */
  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
