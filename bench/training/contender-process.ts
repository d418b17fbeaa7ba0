import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Contender } from './contenders.js';
import type { Check, Command, Evaluation, Job, Ready, Turn } from './protocol.js';

/** A contender in a process of its own, which idles while others have their turn. */
export class ContenderProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;
  #errors = '';

  private constructor({ command: [program, ...args] }: Contender) {
    this.#child = spawn(program, args, { stdio: 'pipe' });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#child.stderr.on('data', (chunk) => {
      this.#errors = `${this.#errors}${chunk}`.slice(-2000);
    });
    // A process that has ended shows by the end of its lines.
    this.#child.stdin.on('error', () => {});
    this.#child.on('error', (error) => {
      this.#errors += error.message;
    });
  }

  /** @throws {Error} where the process cannot do the job, with the end of what it printed */
  static async start(contender: Contender, job: Job): Promise<{ process: ContenderProcess; ready: Ready }> {
    const process = new ContenderProcess(contender);
    const ready = await process.#ask<Ready>(job);
    return { process, ready };
  }

  train(steps: number): Promise<Turn> {
    return this.#ask({ do: 'train', steps } satisfies Command);
  }

  evaluate(): Promise<Evaluation> {
    return this.#ask({ do: 'evaluate' } satisfies Command);
  }

  check(files: { readonly weights: string; readonly x: string; readonly noise: string }): Promise<Check> {
    return this.#ask({ do: 'check', ...files } satisfies Command);
  }

  stop(): void {
    this.#child.kill();
  }

  async #ask<Answer extends object>(question: object): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`its process ended: ${this.#errors.trim()}`);
    const answer = JSON.parse(value) as Answer | { readonly error: string };
    if ('error' in answer) throw new Error(answer.error);
    return answer;
  }
}
