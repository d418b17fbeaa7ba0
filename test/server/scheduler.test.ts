import { Cancellation } from '@elbo/server/inference/cancellation';
import { type Clock, systemClock } from '@elbo/server/inference/clock';
import { InferenceError } from '@elbo/server/inference/errors';
import { RunTimes } from '@elbo/server/inference/run-times';
import {
  type BatchRunner,
  type GraphCall,
  type Outputs,
  Scheduler,
  type SchedulerOptions,
} from '@elbo/server/inference/scheduler';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const CALL: GraphCall = { key: 'double', model: 'a', rowSize: 2 };
const OTHER: GraphCall = { key: 'other', model: 'a', rowSize: 2 };
const STRANGER: GraphCall = { key: 'stranger', model: 'b', rowSize: 2 };

/** Doubles what it is given, when it is told to. */
class Runner implements BatchRunner<GraphCall> {
  readonly #models: readonly string[];
  readonly batches: { key: string; rows: number; data: number[]; finish: (error?: Error) => void }[] = [];

  constructor(...models: string[]) {
    this.#models = models;
  }

  holds(model: string): boolean {
    return this.#models.length === 0 || this.#models.includes(model);
  }

  run(call: GraphCall, data: Float32Array, rows: number): Promise<Outputs> {
    return new Promise((resolve, reject) => {
      this.batches.push({
        key: call.key,
        rows,
        data: [...data],
        finish: (error) => {
          if (error === undefined) resolve({ doubled: data.map((value) => value * 2) });
          else reject(error);
        },
      });
    });
  }

  async finish(index: number, error?: Error): Promise<void> {
    this.batches[index]?.finish(error);
    await turn();
  }

  /** Finishes whatever it is given until nothing more comes. */
  async drain(): Promise<void> {
    for (let done = 0; done < this.batches.length; done++) await this.finish(done);
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const scheduler = (options: Partial<SchedulerOptions<GraphCall>> = {}) =>
  new Scheduler<GraphCall>({ maxBatch: 4, padRows: (rows) => rows, aheadMs: 0, clock: new FakeClock(), ...options });

/** Time that stands still until it is told to pass. Everything that is submitted arrives by itself. */
class FakeClock implements Clock {
  #now = 0;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer = { at: this.#now + milliseconds, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(callback: () => void): void {
    callback();
  }

  get timers(): number {
    return this.#timers.length;
  }

  async pass(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { callback } of due) callback();
    await turn();
  }
}
const rows = (...values: number[]) => Float32Array.from(values.flatMap((value) => [value, value]));
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'fulfilled',
    (error: InferenceError) => error.code,
  );

describe('scheduler', () => {
  it('runs a request at once on an idle runner', async () => {
    const subject = scheduler();
    const runner = new Runner();
    subject.add(runner);
    const answer = subject.submit(CALL, rows(1, 2));
    expect(runner.batches).toHaveLength(1);
    await runner.drain();
    expect([...((await answer).doubled ?? [])]).toEqual([2, 2, 4, 4]);
  });

  it('batches what arrives together, and waits for no more', async () => {
    const subject = scheduler({ clock: systemClock });
    const runners = [new Runner(), new Runner()];
    for (const runner of runners) subject.add(runner);
    const answers = [1, 2, 3].map((value) => subject.submit(CALL, rows(value)));
    await turn();
    expect(runners.map(({ batches }) => batches.map((batch) => batch.rows))).toEqual([[], [3]]);
    await runners[1]?.drain();
    expect((await Promise.all(answers)).map((outputs) => outputs.doubled?.[0])).toEqual([2, 4, 6]);
  });

  it('batches what queued up while the runner was busy, up to the limit', async () => {
    const subject = scheduler();
    const runner = new Runner();
    subject.add(runner);
    const answers = [1, 2, 3, 4, 5, 6].map((value) => subject.submit(CALL, rows(value)));
    await runner.drain();
    expect(runner.batches.map((batch) => batch.rows)).toEqual([1, 4, 1]);
    expect((await Promise.all(answers)).map((outputs) => outputs.doubled?.[0])).toEqual([2, 4, 6, 8, 10, 12]);
  });

  it('never mixes calls, and lets them take turns', async () => {
    const subject = scheduler({ maxBatch: 2 });
    const runner = new Runner();
    subject.add(runner);
    for (let i = 0; i < 5; i++) void subject.submit(CALL, rows(1));
    for (let i = 0; i < 4; i++) void subject.submit(OTHER, rows(9));
    await runner.drain();
    expect(runner.batches.map((batch) => batch.key)).toEqual(['double', 'double', 'other', 'double', 'other']);
  });

  it('splits a large request, serves small ones in between, and puts it together again', async () => {
    const subject = scheduler({ maxBatch: 2 });
    const runner = new Runner();
    subject.add(runner);
    const large = subject.submit(CALL, rows(1, 2, 3, 4, 5, 6, 7));
    const small = subject.submit(CALL, rows(10));
    await runner.drain();
    expect(runner.batches.map((batch) => batch.data)).toEqual([
      [1, 1, 2, 2],
      [3, 3, 4, 4],
      [10, 10, 5, 5],
      [6, 6, 7, 7],
    ]);
    expect([...((await large).doubled ?? [])]).toEqual([...rows(2, 4, 6, 8, 10, 12, 14)]);
    expect([...((await small).doubled ?? [])]).toEqual([20, 20]);
  });

  it('pads a batch and gives nobody the padding', async () => {
    const subject = scheduler({ padRows: () => 4 });
    const runner = new Runner();
    subject.add(runner);
    const answer = subject.submit(CALL, rows(1, 2, 3));
    await runner.drain();
    expect(runner.batches[0]).toMatchObject({ rows: 4, data: [1, 1, 2, 2, 3, 3, 0, 0] });
    expect((await answer).doubled).toHaveLength(6);
  });

  it('drops a request whose client is gone before it costs anything', async () => {
    const subject = scheduler();
    const runner = new Runner();
    subject.add(runner);
    const client = new Cancellation();
    void subject.submit(CALL, rows(1));
    const gone = codeOf(subject.submit(CALL, rows(2), { cancellation: client }));
    client.cancel();
    expect(await gone).toBe('CANCELLED');
    await runner.drain();
    expect(runner.batches).toHaveLength(1);
    expect(await codeOf(subject.submit(CALL, rows(3), { cancellation: client }))).toBe('CANCELLED');
  });

  it('lets models take turns, however many calls of one wait', async () => {
    const subject = scheduler({ maxBatch: 1 });
    const runner = new Runner();
    subject.add(runner);
    for (let i = 0; i < 3; i++) for (const call of [CALL, OTHER]) void subject.submit(call, rows(1));
    for (let i = 0; i < 3; i++) void subject.submit(STRANGER, rows(1));
    await runner.drain();
    expect(runner.batches.map(({ key }) => key)).toEqual([
      'double',
      'other',
      'stranger',
      'double',
      'stranger',
      'other',
      'stranger',
      'double',
      'other',
    ]);
  });

  it('gives a runner only what it holds, and the others do not wait for it', async () => {
    const subject = scheduler();
    const [a, b] = [new Runner('a'), new Runner('b')];
    subject.add(b);
    const waiting = subject.submit(CALL, rows(1));
    const other = subject.submit(STRANGER, rows(2));
    await b.drain();
    expect((await other).doubled?.[0]).toBe(4);
    expect(b.batches).toHaveLength(1);
    subject.add(a);
    await a.drain();
    expect((await waiting).doubled?.[0]).toBe(2);
  });

  it('answers what waits for a discarded model with UNAVAILABLE, and nothing else', async () => {
    const subject = scheduler();
    const discarded = codeOf(subject.submit(STRANGER, rows(1)));
    const kept = subject.submit(CALL, rows(1));
    subject.discard('b', 'it was unloaded');
    expect(await discarded).toBe('UNAVAILABLE');
    const runner = new Runner();
    subject.add(runner);
    await runner.drain();
    expect((await kept).doubled?.[0]).toBe(2);
  });

  it('gives a removed runner nothing more once its batch has ended', async () => {
    const subject = scheduler();
    const runner = new Runner();
    subject.add(runner);
    const first = subject.submit(CALL, rows(1));
    const second = codeOf(subject.submit(CALL, rows(2)));
    subject.remove(runner);
    await runner.drain();
    expect((await first).doubled?.[0]).toBe(2);
    expect(runner.batches).toHaveLength(1);
    subject.suspend('over');
    expect(await second).toBe('UNAVAILABLE');
  });

  it('with a delay, waits for a full batch that long and no longer', async () => {
    const clock = new FakeClock();
    const subject = scheduler({ batchDelay: 10, clock });
    const runner = new Runner();
    subject.add(runner);
    void subject.submit(CALL, rows(1));
    await clock.pass(9);
    void subject.submit(CALL, rows(2));
    expect(runner.batches).toHaveLength(0);
    await clock.pass(1);
    expect(runner.batches.map((batch) => batch.rows)).toEqual([2]);
    await runner.finish(0);
    void subject.submit(CALL, rows(1, 2, 3));
    expect(runner.batches).toHaveLength(1);
    void subject.submit(CALL, rows(4));
    expect(runner.batches.map((batch) => batch.rows)).toEqual([2, 4]);
  });

  it('gives a busy runner full batches ahead, as many as take 20 ms, and no others', async () => {
    const clock = new FakeClock();
    const subject = scheduler({ maxBatch: 1, aheadMs: 20, clock });
    const runner = new Runner();
    subject.add(runner);
    const answers = [1, 2, 3, 4, 5, 6].map((value) => subject.submit(CALL, rows(value)));
    expect(runner.batches).toHaveLength(2);
    // The second was begun when the first was done.
    await clock.pass(5);
    await runner.finish(0);
    expect(runner.batches).toHaveLength(5);
    await clock.pass(5);
    await runner.finish(1);
    expect(runner.batches).toHaveLength(6);
    await runner.drain();
    expect((await Promise.all(answers)).map((outputs) => outputs.doubled?.[0])).toEqual([2, 4, 6, 8, 10, 12]);

    const larger = scheduler({ maxBatch: 2, aheadMs: 20, clock });
    const another = new Runner();
    larger.add(another);
    void larger.submit(CALL, rows(1));
    void larger.submit(CALL, rows(2));
    expect(another.batches.map((batch) => batch.rows)).toEqual([1]);
    void larger.submit(CALL, rows(3));
    expect(another.batches.map((batch) => batch.rows)).toEqual([1, 2]);
  });

  it('gives batches ahead to the runner that has the fewest', async () => {
    const subject = scheduler({ maxBatch: 1, aheadMs: 20 });
    const runners = [new Runner(), new Runner()];
    for (const runner of runners) subject.add(runner);
    for (let i = 0; i < 4; i++) void subject.submit(CALL, rows(i));
    expect(runners.map(({ batches }) => batches.length)).toEqual([2, 2]);
  });

  it('fails all that a lost runner had ahead, and nothing else', async () => {
    const subject = scheduler({ maxBatch: 1, aheadMs: 20 });
    const runner = new Runner();
    subject.add(runner);
    const lost = [1, 2].map((value) => codeOf(subject.submit(CALL, rows(value))));
    const waiting = subject.submit(CALL, rows(3));
    for (const i of [0, 1]) await runner.finish(i, new InferenceError('WORKER_LOST', 'gone'));
    expect(await Promise.all(lost)).toEqual(['WORKER_LOST', 'WORKER_LOST']);
    expect(runner.batches).toHaveLength(2);
    const replacement = new Runner();
    subject.add(replacement);
    await replacement.drain();
    expect((await waiting).doubled?.[0]).toBe(6);
  });

  it('gives up a request at its time limit, before it costs anything', async () => {
    const clock = new FakeClock();
    const subject = scheduler({ timeout: 100, clock });
    const runner = new Runner();
    subject.add(runner);
    const first = subject.submit(CALL, rows(1));
    const usual = codeOf(subject.submit(CALL, rows(2)));
    const patient = subject.submit(CALL, rows(3), { timeout: 500 });
    await clock.pass(99);
    await runner.finish(0);
    expect((await first).doubled?.[0]).toBe(2);
    expect(runner.batches[1]?.rows).toBe(2);
    await clock.pass(1);
    expect(await usual).toBe('TIMED_OUT');
    const late = codeOf(subject.submit(CALL, rows(4)));
    await clock.pass(100);
    expect(await late).toBe('TIMED_OUT');
    await runner.drain();
    expect((await patient).doubled?.[0]).toBe(6);
    expect(runner.batches).toHaveLength(2);
    expect(clock.timers).toBe(0);
  });

  it('says what a request waited and ran for, and what its batches were', async () => {
    const clock = new FakeClock();
    const seen: unknown[] = [];
    const subject = scheduler({
      clock,
      padRows: () => 4,
      observer: {
        waited: (call, milliseconds) => seen.push([call.key, 'waited', milliseconds]),
        ran: (call, count, requests, milliseconds) => seen.push([call.key, 'ran', count, requests, milliseconds]),
      },
    });
    const times = new RunTimes();
    const answer = subject.submit(CALL, rows(1, 2, 3), { times });
    await clock.pass(5);
    const runner = new Runner();
    subject.add(runner);
    await clock.pass(7);
    await runner.drain();
    await answer;
    expect(times).toEqual({ queue: 5, inference: 7 });
    expect(seen).toEqual([
      ['double', 'waited', 5],
      ['double', 'ran', 3, 1, 7],
    ]);
  });

  it('fails the requests of a lost runner only, and gives it nothing more', async () => {
    const subject = scheduler({ maxBatch: 1 });
    const runner = new Runner();
    subject.add(runner);
    const lost = codeOf(subject.submit(CALL, rows(1)));
    const waiting = subject.submit(CALL, rows(2));
    await runner.finish(0, new InferenceError('WORKER_LOST', 'gone'));
    expect(await lost).toBe('WORKER_LOST');
    expect(runner.batches).toHaveLength(1);
    const replacement = new Runner();
    subject.add(replacement);
    await replacement.drain();
    expect((await waiting).doubled?.[0]).toBe(4);
  });

  it('goes on after a run that failed', async () => {
    const subject = scheduler();
    const runner = new Runner();
    subject.add(runner);
    const failed = codeOf(subject.submit(CALL, rows(1)));
    await runner.finish(0, new InferenceError('RUN_FAILED', 'bad'));
    expect(await failed).toBe('RUN_FAILED');
    const next = subject.submit(CALL, rows(5));
    await runner.finish(1);
    expect((await next).doubled?.[0]).toBe(10);
  });

  it('answers everything with UNAVAILABLE while it is suspended', async () => {
    const subject = scheduler();
    const waiting = codeOf(subject.submit(CALL, rows(1)));
    subject.suspend('no worker');
    expect(await waiting).toBe('UNAVAILABLE');
    expect(await codeOf(subject.submit(CALL, rows(1)))).toBe('UNAVAILABLE');
    const runner = new Runner();
    subject.add(runner);
    const answer = subject.submit(CALL, rows(1));
    await runner.drain();
    expect((await answer).doubled?.[0]).toBe(2);
  });

  it('gives every request its own rows in order, whatever comes when', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 11 }), fc.boolean()), { maxLength: 20 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 3 }),
        fc.constantFrom(0, 20),
        async (requests, maxBatch, runnerCount, aheadMs) => {
          const subject = scheduler({ maxBatch, aheadMs, padRows: (n) => Math.ceil(n / 4) * 4 });
          const runners = Array.from({ length: runnerCount }, () => new Runner());
          for (const runner of runners) subject.add(runner);
          const answers = requests.map(([count, other], r) => {
            const data = Float32Array.from({ length: count * 2 }, (_, i) => r * 100 + i);
            const expected = [...data].map((value) => value * 2);
            return subject
              .submit(other ? OTHER : CALL, data)
              .then((outputs) => expect([...(outputs.doubled ?? [])]).toEqual(expected));
          });
          while (runners.some((runner) => runner.batches.length > 0)) {
            for (const runner of runners.toReversed()) {
              const batch = runner.batches.shift();
              expect(batch?.rows ?? 0).toBeLessThanOrEqual(Math.ceil(maxBatch / 4) * 4);
              batch?.finish();
              await turn();
            }
          }
          await Promise.all(answers);
        },
      ),
      { numRuns: 50 },
    );
  });
});
