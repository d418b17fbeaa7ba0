import { Admission } from '@elbo/server/inference/admission';
import { InferenceError } from '@elbo/server/inference/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'fulfilled',
    (error: InferenceError) => error.code,
  );

/** Work that ends when it is told to. */
function held(admission: Admission, items: number): { finish: (error?: Error) => void; done: Promise<void> } {
  let finish: (error?: Error) => void = () => {};
  const done = admission.admit(
    items,
    () =>
      new Promise<void>((resolve, reject) => {
        finish = (error) => (error === undefined ? resolve() : reject(error));
      }),
  );
  return { finish: (error) => finish(error), done };
}

describe('admission', () => {
  it('refuses items beyond the limit at once, and takes them again when there is room', async () => {
    const subject = new Admission(3);
    const first = held(subject, 2);
    expect(await codeOf(subject.admit(2, async () => {}))).toBe('OVERLOADED');
    expect(await codeOf(subject.admit(4, async () => {}))).toBe('TOO_MANY_ITEMS');
    first.finish();
    await first.done;
    expect(subject.items).toBe(0);
    expect(await codeOf(subject.admit(3, async () => {}))).toBe('fulfilled');
    expect(await codeOf(subject.admit(3, () => Promise.reject(new InferenceError('RUN_FAILED', 'x'))))).toBe(
      'RUN_FAILED',
    );
    expect(subject.items).toBe(0);
  });

  it('counts nothing that is no number of items', async () => {
    const subject = new Admission(3);
    for (const items of [Number.NaN, -1, 0.5]) {
      await expect(subject.admit(items, async () => {})).rejects.toThrow('expected a whole number');
    }
    expect(subject.items).toBe(0);
  });

  it('is drained when what was inside has left, whatever came later', async () => {
    const subject = new Admission(10);
    const before = held(subject, 1);
    let first = false;
    let second = false;
    const drained = subject.drained().then(() => {
      first = true;
    });
    const later = held(subject, 1);
    const drainedAgain = subject.drained().then(() => {
      second = true;
    });
    held(subject, 1);
    later.finish();
    await later.done;
    // The later one has left, but not all before it.
    expect([first, second]).toEqual([false, false]);
    before.finish(new Error('x'));
    await before.done.catch(() => {});
    await drained;
    await drainedAgain;
    expect(subject.items).toBe(1);
  });

  it('keeps to its limit and comes back to 0, whatever enters and leaves when', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 30 }), async (sizes) => {
        const subject = new Admission(5);
        const inside: { finish: () => void; done: Promise<void> }[] = [];
        for (const [i, size] of sizes.entries()) {
          const work = held(subject, size);
          work.done.catch(() => {});
          inside.push(work);
          expect(subject.items).toBeLessThanOrEqual(5);
          if (i % 3 === 2) inside.shift()?.finish();
          await Promise.resolve();
        }
        for (const { finish } of inside) finish();
        await Promise.allSettled(inside.map(({ done }) => done));
        await subject.drained();
        expect(subject.items).toBe(0);
      }),
    );
  });
});
