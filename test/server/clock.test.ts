import { systemClock } from '@elbo/server/inference/clock';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it.each([2 ** 31, Number.MAX_SAFE_INTEGER / 1000])(
  '%s ms, too long for a timer, are not over at once',
  (milliseconds) => {
    const callback = vi.fn();
    const takeBack = systemClock.after(milliseconds, callback);
    vi.advanceTimersByTime(60_000);
    expect(callback).not.toHaveBeenCalled();
    takeBack();
  },
);

it('the longest timer is one', () => {
  const callback = vi.fn();
  systemClock.after(2 ** 31 - 1, callback);
  vi.advanceTimersByTime(2 ** 31 - 2);
  expect(callback).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(callback).toHaveBeenCalledOnce();
});
