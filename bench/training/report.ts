import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { max, median, min } from 'simple-statistics';
import { agree, COMPARED_STEPS, type Differences, differences, TOLERANCE } from './agreement.js';
import { CONTENDERS, type Contender, type Turn } from './contenders.js';
import type { Measurement } from './measurement.js';

type Peer = Exclude<Contender, 'elbo'>;
const PEERS = Object.keys(CONTENDERS).filter((name): name is Peer => name !== 'elbo');

/** Load average from which another program had about a core. */
const BUSY = 0.7;
const BUSY_NOTE =
  'The machine was busy, which slows Elbo, whose threads wait for each other, more than tfjs with its one thread: ' +
  'the ratios are too low. Run it again on an idle machine.';

interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** What a run found; with --json, the last line of the output. */
export interface Report {
  readonly date: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Load average of the minute before the start: 0 on an idle machine. */
  readonly load_before: number;
  readonly data: string;
  readonly batch_size: number;
  readonly timed_steps: number;
  readonly steps_per_epoch: number;
  readonly rounds: number;
  /** Over the rounds. */
  readonly ms_per_step: Readonly<Record<Contender, Spread>>;
  /** Processor time of all threads, median of the rounds. */
  readonly cpu_ms_per_step: Readonly<Record<Contender, number>>;
  /** Of a peer's time to Elbo's, in the same round. */
  readonly ratio: Readonly<Record<Peer, Spread>>;
  readonly peak_memory_mib: Readonly<Record<Contender, number>>;
  readonly differences: Readonly<Record<Peer, Differences>>;
  readonly agrees: boolean;
}

/** Read before the measurement, which raises it. */
export function loadAverage(): number {
  return loadavg()[0];
}

export function createReport({ ready, warmUp, rounds }: Measurement, loadBefore: number): Report {
  const last = rounds[rounds.length - 1];
  const found = perPeer((peer) => differences(warmUp.elbo, warmUp[peer]));
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${availableParallelism()} cores of ${cpus()[0].model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory`,
    versions: {
      node: process.versions.node,
      ...Object.fromEntries(
        ['onnxruntime-node', '@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm'].map((name) => [
          name,
          versionOf(name),
        ]),
      ),
    },
    load_before: loadBefore,
    data: ready.data,
    batch_size: ready.batchSize,
    timed_steps: rounds.reduce((sum, { elbo }) => sum + elbo.steps, 0),
    steps_per_epoch: ready.stepsPerEpoch,
    rounds: rounds.length,
    ms_per_step: perContender((name) => spread(rounds.map((round) => msPerStep(round[name])))),
    cpu_ms_per_step: perContender((name) =>
      median(rounds.map((round) => round[name].cpuMilliseconds / round[name].steps)),
    ),
    ratio: perPeer((peer) => spread(rounds.map((round) => msPerStep(round[peer]) / msPerStep(round.elbo)))),
    peak_memory_mib: perContender((name) => Math.round(last[name].peakMemory / 2 ** 20)),
    differences: found,
    agrees: PEERS.every((peer) => agree(found[peer])),
  };
}

/** Markdown, for the terminal and for RESULTS.md. */
export function describe(report: Report): string {
  const { versions, timed_steps: steps, steps_per_epoch: perEpoch } = report;
  const rows = (Object.keys(CONTENDERS) as Contender[]).map((name) => {
    const ms = report.ms_per_step[name];
    const ratio = name === 'elbo' ? { median: 1, min: 1, max: 1 } : report.ratio[name];
    const cells = [
      CONTENDERS[name],
      `**${ms.median.toFixed(1)}** (${ms.min.toFixed(1)}–${ms.max.toFixed(1)})`,
      name === 'elbo' ? '1×' : `**${ratio.median.toFixed(1)}×** (${ratio.min.toFixed(1)}–${ratio.max.toFixed(1)})`,
      report.cpu_ms_per_step[name].toFixed(1),
      `${report.peak_memory_mib[name]}`,
    ];
    return `| ${cells.join(' | ')} |`;
  });
  const agreement = PEERS.map((peer) => {
    const { first_step, loss } = report.differences[peer];
    const terms = Object.entries(first_step).map(
      ([term, value]) => `${term.replace('_', ' ')} ${value.toExponential(0)}`,
    );
    return `- ${CONTENDERS[peer]}: first step: ${terms.join(', ')}; loss of ${COMPARED_STEPS} steps: ${loss.toExponential(0)}`;
  });
  return [
    `MLP VAE 784-400-20-400-784, batch ${report.batch_size}, Adam, ${report.data}. ${steps} timed steps` +
      `${steps === perEpoch ? ' (one epoch)' : ` (an epoch has ${perEpoch})`} in ${report.rounds} ${report.rounds === 1 ? 'round' : 'rounds'} after a warm-up.`,
    '',
    '| trainer | ms a step, median (min–max) of the rounds | against Elbo, median (min–max) | processor ms a step | peak memory, MiB |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    `Relative differences from Elbo, the largest of the steps; ${TOLERANCE} would fail the run:`,
    ...agreement,
    '',
    `${report.date}, ${report.machine}, load average before the run ${report.load_before.toFixed(1)}; ` +
      `${Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', ')}.`,
    ...(report.load_before < BUSY ? [] : ['', BUSY_NOTE]),
  ].join('\n');
}

function msPerStep({ milliseconds, steps }: Turn): number {
  return milliseconds / steps;
}

function spread(values: number[]): Spread {
  return { median: median(values), min: min(values), max: max(values) };
}

function perContender<T>(value: (contender: Contender) => T): Record<Contender, T> {
  return { elbo: value('elbo'), ...perPeer(value) };
}

function perPeer<T>(value: (peer: Peer) => T): Record<Peer, T> {
  return { tfjs: value('tfjs'), 'tfjs-rewritten': value('tfjs-rewritten') };
}

function versionOf(name: string): string {
  return createRequire(import.meta.url)(`${name}/package.json`).version;
}
