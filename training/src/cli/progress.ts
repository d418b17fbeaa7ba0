import { SingleBar } from 'cli-progress';
import { duration } from '../pictures/numbers.js';

/** What a long command shows of its work. */
export interface ProgressDisplay {
  /** @param text what is shown beside the bar, such as loss terms */
  update(done: number, total: number, text: string): void;
  /** A line that stays. */
  line(text: string): void;
  stop(): void;
}

/** A live bar on a terminal, plain lines on a pipe. Both go to stderr, so that stdout holds results alone. */
export function progressDisplay(label: string): ProgressDisplay {
  return process.stderr.isTTY ? new Bar(label) : new Lines(label);
}

/** As `progressDisplay`, of work in phases that the text tells apart, each with a total of its own. */
export function phasedProgress(label: string): Pick<ProgressDisplay, 'update' | 'stop'> {
  let display = progressDisplay(label);
  let phase: string | undefined;
  return {
    update(done, total, text) {
      if (phase !== undefined && phase !== text) {
        display.stop();
        display = progressDisplay(label);
      }
      phase = text;
      display.update(done, total, text);
    },
    stop: () => display.stop(),
  };
}

/** Between two lines of progress on a pipe. */
const LINE_SECONDS = 30;

class Lines implements ProgressDisplay {
  readonly #label: string;
  #lastAt = Date.now();

  constructor(label: string) {
    this.#label = label;
  }

  update(done: number, total: number, text: string): void {
    if (Date.now() - this.#lastAt < LINE_SECONDS * 1000) return;
    this.line(`${this.#label}: ${text}, ${Math.floor((100 * done) / total)} %`);
  }

  line(text: string): void {
    this.#lastAt = Date.now();
    console.error(text);
  }

  stop(): void {}
}

class Bar implements ProgressDisplay {
  readonly #bar: SingleBar;
  #started: number | undefined;
  #doneAtStart = 0;

  constructor(label: string) {
    this.#bar = new SingleBar({
      format: `${label} {bar} {percentage}% · {text} · {rate} · {left} left`,
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      barsize: 24,
      gracefulExit: false,
    });
  }

  update(done: number, total: number, text: string): void {
    if (this.#started === undefined) {
      this.#started = Date.now();
      this.#doneAtStart = done;
      this.#bar.start(total, done, { text, rate: '…/s', left: '…' });
      return;
    }
    const seconds = (Date.now() - this.#started) / 1000;
    const rate = (done - this.#doneAtStart) / seconds;
    this.#bar.update(done, { text, rate: `${rate.toFixed(0)}/s`, left: duration((total - done) / rate) });
  }

  line(text: string): void {
    // The bar's line is cleared first; the next update draws it anew below.
    if (this.#started !== undefined) process.stderr.write('\r\u001b[K');
    console.error(text);
  }

  stop(): void {
    this.#bar.stop();
  }
}
