import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/**
 * CPUs that this process may use: what the scheduler offers, cut to the container's cgroup quota (v2 or v1), at least 1.
 * Node 20's own availableParallelism() doesn't read the quota (libuv does from 1.49 on, which came with Node 22).
 * @param read returns a file's text or throws; tests give their own
 */
export function availableCpus(
  read: (path: string) => string = (path) => readFileSync(path, 'utf8'),
  offered: number = availableParallelism(),
): number {
  const quota = cgroupV2(read) ?? cgroupV1(read);
  return Math.max(1, quota === undefined ? offered : Math.min(offered, Math.floor(quota)));
}

function cgroupV2(read: (path: string) => string): number | undefined {
  const [quota, period] = (attempt(() => read('/sys/fs/cgroup/cpu.max')) ?? '').trim().split(' ').map(Number);
  return ratio(quota, period);
}

function cgroupV1(read: (path: string) => string): number | undefined {
  const quota = attempt(() => read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us'));
  const period = attempt(() => read('/sys/fs/cgroup/cpu/cpu.cfs_period_us'));
  return ratio(Number(quota), Number(period));
}

function ratio(quota = Number.NaN, period = Number.NaN): number | undefined {
  return quota > 0 && period > 0 ? quota / period : undefined;
}

function attempt(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
