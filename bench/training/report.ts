import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { max, median, min } from 'simple-statistics';
import { CONTENDERS } from './contenders.js';
import type { Outcome } from './measurement.js';
import type { Check, Turn } from './protocol.js';
import type { Workload } from './workloads.js';

/** Contenders that compute the same thing differ by rounding alone. */
const TOLERANCE = 1e-4;

/** Load average from which another program had about a core. */
const BUSY = 0.7;

export interface WorkloadResult {
  readonly name: string;
  readonly workload: Workload;
  readonly data: string;
  readonly outcomes: Readonly<Record<string, Outcome>>;
  /** Why contenders are missing. */
  readonly absent: Readonly<Record<string, string>>;
}

export function loadAverage(): number {
  return loadavg()[0];
}

/** The largest relative difference of a contender's loss and gradient norm from Elbo's. */
export function disagreement(ours: Check, theirs: Check): number {
  const relative = (key: keyof Check) => Math.abs(theirs[key] / ours[key] - 1);
  return Math.max(relative('loss'), relative('gradient_norm'));
}

/** Contenders that do not compute what Elbo computes; a difference that is not a number is one. */
export function disagreeing(results: readonly WorkloadResult[]): string[] {
  return results.flatMap(({ name, outcomes }) =>
    Object.entries(outcomes).flatMap(([contender, { check }]) => {
      const difference = disagreement(outcomes.elbo.check, check);
      return difference <= TOLERANCE ? [] : [`${name}: ${contender} differs by ${difference}`];
    }),
  );
}

const msPerStep = ({ ms, steps }: Turn): number => ms / steps;

/** Markdown, for the terminal and for RESULTS.md. */
export function describe(results: readonly WorkloadResult[], loadBefore: number, threads: number): string {
  return [
    ...results.map(describeWorkload),
    machine(loadBefore, threads),
    ...(loadBefore > BUSY
      ? [
          'The machine was busy, which slows programs whose threads wait for each other the most. Run it again on an idle machine.',
        ]
      : []),
  ].join('\n\n');
}

/** When and where the numbers were measured, in a sentence. */
export function machine(loadBefore: number, threads: number): string {
  return (
    `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores of ${cpus()[0].model}, ` +
    `${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${threads} threads each, load average before the run ${loadBefore.toFixed(1)}; ` +
    `node ${process.versions.node}, onnxruntime-node ${versionOf('onnxruntime-node')}.`
  );
}

function describeWorkload({ name, workload, data, outcomes, absent }: WorkloadResult): string {
  const { elbo } = outcomes;
  const rows = CONTENDERS.flatMap(({ name: contender, label }) => {
    const outcome = outcomes[contender];
    if (outcome === undefined) return [];
    const { ready, turns, secondsToTarget, peakMemory, check } = outcome;
    const times = turns.map(msPerStep);
    // In the same round, so that what else the machine did falls on both.
    const ratios = turns.map((turn, i) => msPerStep(turn) / msPerStep(elbo.turns[Math.min(i, elbo.turns.length - 1)]));
    const title = contender === 'elbo' ? label : `${label} (${ready.library}, ${ready.variant})`;
    const cells = [
      title,
      `**${median(times).toFixed(1)}** (${min(times).toFixed(1)}–${max(times).toFixed(1)})`,
      contender === 'elbo' ? '1×' : `${median(ratios).toFixed(2)}×`,
      median(turns.map((turn) => turn.cpu_ms / turn.steps)).toFixed(1),
      secondsToTarget === undefined ? '–' : secondsToTarget.toFixed(1),
      `${Math.round(peakMemory / 2 ** 20)}`,
      contender === 'elbo' ? '' : disagreement(elbo.check, check).toExponential(0),
    ];
    return [`| ${cells.join(' | ')} |`];
  });
  return [
    `## (${name}) ${workload.title}`,
    '',
    `Data: ${data}. ${elbo.turns.length} rounds of turns of ${elbo.turns[0].steps} steps or more after a warm-up.`,
    '',
    `| trainer | ms a step, median (min–max) | against Elbo | processor ms a step | seconds to −ELBO ${workload.target} | peak memory, MiB | difference |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
    ...Object.entries(absent).map(([contender, reason]) => `\nWithout ${contender}: ${reason}.`),
  ].join('\n');
}

function versionOf(name: string): string {
  const { version } = createRequire(import.meta.url)(`${name}/package.json`) as { version: string };
  return version;
}
