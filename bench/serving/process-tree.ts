import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

// What Linux's /proc says of a server with all the processes that it started.

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

export interface TreeUsage {
  /** Since the processes started, with what ended children of theirs took. */
  readonly cpuSeconds: number;
  /** Resident set of every process, added up: pages that two of them share count twice. */
  readonly residentBytes: number;
}

export function treeUsage(root: number): TreeUsage {
  let ticks = 0;
  let residentKib = 0;
  for (const pid of processesOf(root)) {
    const fields = statFields(pid);
    if (fields === undefined) continue;
    // utime, stime, cutime and cstime: fields 14 to 17 of proc(5); `fields` begins with the third.
    for (const field of fields.slice(11, 15)) ticks += Number(field);
    residentKib += Number(/^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1] ?? 0);
  }
  return { cpuSeconds: ticks / TICKS_PER_SECOND, residentBytes: residentKib * 1024 };
}

/** A process and its descendants that run now. */
export function processesOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = Number(statFields(pid)?.[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found = [root];
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}

/** From the third field on: the second is a name that may hold spaces and brackets. */
function statFields(pid: number): string[] | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Undefined for a process that has ended since it was listed. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
