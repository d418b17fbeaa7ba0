import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { CONTENDERS, type Contender, type Ready, type Turn } from './contenders.js';

/** What all contenders did: a turn to warm up, then timed turns. */
export interface Measurement {
  readonly ready: Ready;
  readonly warmUp: Readonly<Record<Contender, Turn>>;
  /** One record a round, in which every contender had the same steps. */
  readonly rounds: readonly Readonly<Record<Contender, Turn>>[];
}

const names = Object.keys(CONTENDERS) as Contender[];

/**
 * Trains all contenders in turns, each in a process of its own that idles while the others run, so that whatever
 * else the machine does falls on all of them.
 * @param steps to time, at least; undefined for one epoch
 * @throws {Error} where a contender's process ends
 */
export async function measure(steps: number | undefined, onProgress: (text: string) => void): Promise<Measurement> {
  const processes: Partial<Record<Contender, ContenderProcess>> = {};
  try {
    onProgress('loading data');
    for (const name of names) processes[name] = await ContenderProcess.start(name);
    const all = processes as Record<Contender, ContenderProcess>;
    const { ready } = all.elbo;
    const timedSteps = steps ?? ready.stepsPerEpoch;
    const round = async (text: string) => {
      const turns: Partial<Record<Contender, Turn>> = {};
      for (const name of names) {
        onProgress(`${text}: ${CONTENDERS[name]}`);
        turns[name] = await all[name].turn();
      }
      return turns as Record<Contender, Turn>;
    };

    const warmUp = await round('warm-up');
    const rounds: Record<Contender, Turn>[] = [];
    for (let done = 0; done < timedSteps; done += rounds[rounds.length - 1].elbo.steps) {
      rounds.push(await round(`step ${done} of ${timedSteps}`));
    }
    return { ready, warmUp, rounds };
  } finally {
    for (const name of names) processes[name]?.stop();
  }
}

class ContenderProcess {
  readonly ready: Ready;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, ready: Ready) {
    this.#child = child;
    this.ready = ready;
  }

  static async start(contender: Contender): Promise<ContenderProcess> {
    const child = fork(fileURLToPath(new URL('./contender-process.js', import.meta.url)), [contender]);
    return new ContenderProcess(child, (await answer(child)) as Ready);
  }

  async turn(): Promise<Turn> {
    this.#child.send('turn');
    return (await answer(this.#child)) as Turn;
  }

  stop(): void {
    this.#child.kill();
  }
}

async function answer(child: ChildProcess): Promise<unknown> {
  const waiting = new AbortController();
  const ended = once(child, 'exit', { signal: waiting.signal }).then(([code, signal]) => {
    throw new Error(`the process of a contender ended early (${signal ?? `exit code ${code}`})`);
  });
  try {
    const [message] = await Promise.race([once(child, 'message', { signal: waiting.signal }), ended]);
    return message;
  } finally {
    ended.catch(() => {});
    waiting.abort();
  }
}
