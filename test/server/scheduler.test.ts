import { InferenceError } from '@elbo/server/inference/errors';
import { type BatchRunner, type GraphCall, type Outputs, Scheduler } from '@elbo/server/inference/scheduler';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const CALL: GraphCall = { key: 'double', rowSize: 2 };
const OTHER: GraphCall = { key: 'other', rowSize: 2 };

/** Doubles what it is given, when it is told to. */
class Runner implements BatchRunner<GraphCall> {
  readonly batches: { key: string; rows: number; data: number[]; finish: (error?: Error) => void }[] = [];

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
const scheduler = (options: Partial<ConstructorParameters<typeof Scheduler>[0]> = {}) =>
  new Scheduler<GraphCall>({ maxBatch: 4, maxItems: 100, padRows: (rows) => rows, ...options });
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
    const client = new AbortController();
    void subject.submit(CALL, rows(1));
    const gone = codeOf(subject.submit(CALL, rows(2), client.signal));
    client.abort();
    expect(await gone).toBe('CANCELLED');
    await runner.drain();
    expect(runner.batches).toHaveLength(1);
    expect(await codeOf(subject.submit(CALL, rows(3), client.signal))).toBe('CANCELLED');
  });

  it('refuses items beyond the limit at once, and takes them again when there is room', async () => {
    const subject = scheduler({ maxItems: 3 });
    let finish: () => void = () => {};
    const first = subject.admit(2, () => new Promise<void>((resolve) => (finish = resolve)));
    expect(await codeOf(subject.admit(2, async () => {}))).toBe('OVERLOADED');
    expect(await codeOf(subject.admit(4, async () => {}))).toBe('TOO_MANY_ITEMS');
    finish();
    await first;
    expect(subject.admitted).toBe(0);
    expect(await codeOf(subject.admit(3, async () => {}))).toBe('fulfilled');
    expect(await codeOf(subject.admit(3, () => Promise.reject(new InferenceError('RUN_FAILED', 'x'))))).toBe(
      'RUN_FAILED',
    );
    expect(subject.admitted).toBe(0);
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
        async (requests, maxBatch, runnerCount) => {
          const subject = scheduler({ maxBatch, padRows: (n) => Math.ceil(n / 4) * 4 });
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
