import { max, quantileSorted } from 'simple-statistics';
import { machine } from '../training/report.js';
import { goals, type Results } from './goals.js';
import { HEALTH_INTERVAL_MS } from './health.js';
import { type Cell, cellOf, GOAL_CONNECTIONS, type Measured, type OwnMeasurements } from './measurement.js';
import type { BodyKind } from './payloads.js';

export interface Run {
  readonly command: string;
  readonly seconds: number;
  readonly workers: number;
  readonly loadBefore: number;
}

/** Markdown, for the terminal and for RESULTS.md. */
export function describe(results: Results, run: Run): string {
  return [
    `\`${run.command}\`: every load for ${run.seconds} s. ${machine(run.loadBefore, run.workers)}`,
    ...(run.loadBefore > 0.7 ? ['The machine was busy with other work; run it again on an idle one.'] : []),
    'The load generator shares the cores with the servers; "client" is its share of them.',
    goalTable(results),
    contenderTable(results),
    ...loads(results).map(([kind, items]) => loadTable(results, kind, items)),
    limits(results, run),
    ownTables(results.own, measuredOf(results)),
  ].join('\n\n');
}

function goalTable(results: Results): string {
  return table(
    ['goal', 'measured', ''],
    goals(results).map(({ text, measured, met }) => [
      text,
      measured,
      met === undefined ? '–' : met ? 'met' : '**not met**',
    ]),
  );
}

function contenderTable({ outcomes }: Results): string {
  const rows: string[][] = [];
  const failures: string[] = [];
  for (const [{ label }, outcome] of outcomes) {
    if ('failure' in outcome) {
      failures.push(`Without ${label}: ${outcome.failure}`);
      continue;
    }
    const { versions, secondsToReady, idleBytes, bytesAfter, difference } = outcome;
    const cells = [versions, secondsToReady.toFixed(1), mib(idleBytes), mib(bytesAfter), difference.toExponential(0)];
    rows.push([label, ...cells]);
  }
  const header = ['server', 'versions', 's to ready', 'idle, MiB', 'after the load, MiB', 'difference'];
  return [`## Servers\n\n${table(header, rows)}`, ...failures].join('\n\n');
}

function loads(results: Results): [BodyKind, number][] {
  const seen = new Map<string, [BodyKind, number]>();
  for (const { kind, items } of measuredOf(results)?.cells ?? []) seen.set(`${kind} ${items}`, [kind, items]);
  return [...seen.values()];
}

function loadTable({ outcomes }: Results, kind: BodyKind, items: number): string {
  const rows = [...outcomes].flatMap(([{ label }, outcome]) =>
    'failure' in outcome
      ? []
      : outcome.cells
          .filter((cell) => cell.kind === kind && cell.items === items)
          .map((cell) => [label, ...loadCells(cell)]),
  );
  const title = `## ${kind}, ${items === 1 ? 'one item' : `${items} items`} a request`;
  const header = [
    'server',
    'connections',
    'requests/s',
    'items/s',
    'p50, ms',
    'p99, ms',
    'failed',
    'processor s per 1,000 items',
    'client, cores',
  ];
  return `${title}\n\n${table(header, rows)}`;
}

function loadCells({ connections, items, load, serverCpuSeconds }: Cell): string[] {
  const rate = load.answered / load.seconds;
  const perThousand = (serverCpuSeconds / (load.answered * items)) * 1000;
  return [
    String(connections),
    count(rate),
    count(rate * items),
    ...quantiles(load.latencies, 2),
    String(load.failed),
    load.answered === 0 ? '–' : perThousand.toPrecision(2),
    (load.clientCpuSeconds / load.seconds).toFixed(2),
  ];
}

function limits({ bareLoop, bareHttp }: Results, { workers }: Run): string {
  return [
    '## What is left without the rest',
    [
      `- Without HTTP: the encoder on batches of 64 in a loop, ${workers} threads: ${count(bareLoop)} items/s.`,
      `- Without a model: Node's HTTP server, which reads the body of one item as float32 and answers as many bytes as Elbo does, ${GOAL_CONNECTIONS} connections: ${count(bareHttp)} requests/s.`,
    ].join('\n'),
  ].join('\n\n');
}

function ownTables(own: OwnMeasurements, measured: Measured | undefined): string {
  const png = cellOf(measured, 'PNG', 1);
  const pngMs = png && (png.serverCpuSeconds / png.load.answered) * 1000;
  const health = own.health.map(({ load, result, health: times }) => [
    load,
    ...(result === undefined
      ? ['', '', '']
      : [count(result.answered / result.seconds), String(result.failed), quantiles(result.latencies, 1)[1]]),
    ...quantiles(times, 1),
    max([...times]).toFixed(1),
  ]);
  const half = own.halfLoad.map(({ kind, rate, result }) => [
    kind,
    count(rate),
    count(result.answered / result.seconds),
    String(result.failed),
    ...quantiles(result.latencies, 2),
  ]);
  return [
    '## Elbo at half load',
    `Single items from ${GOAL_CONNECTIONS} connections at half the rate that was reached above; a latency counts from when a request was due.`,
    table(['items as', 'requests/s asked', 'answered', 'failed', 'p50, ms', 'p99, ms'], half),
    '## Health beside load',
    `Single items from ${GOAL_CONNECTIONS} connections, with \`GET /health/live\` every ${HEALTH_INTERVAL_MS} ms beside them.`,
    table(['items as', 'requests/s', 'failed', 'p99, ms', 'health p50, ms', 'p99', 'max'], health),
    '## Elbo by itself',
    [
      `- Decoding one PNG takes the server's codec ${own.decodeMs.toFixed(3)} ms of processor time${
        pngMs === undefined
          ? ''
          : `, ${((own.decodeMs / pngMs) * 100).toFixed(0)} % of the ${pngMs.toFixed(3)} ms of a whole request`
      }.`,
      `- With three models (mnist, fashion-mnist, shapes): ready after ${own.start.seconds.toFixed(2)} s, ${mib(own.start.idleBytes)} MiB idle.`,
      `- autocannon, another load generator, gets ${count(own.autocannonRate)} requests/s of float32 single items from ${GOAL_CONNECTIONS} connections.`,
    ].join('\n'),
  ].join('\n\n');
}

function measuredOf({ outcomes }: Results): Measured | undefined {
  const [first] = outcomes.values();
  return first === undefined || 'failure' in first ? undefined : first;
}

function quantiles(sorted: Float64Array, digits: number): [string, string] {
  const quantile = (q: number) => (sorted.length === 0 ? '–' : quantileSorted([...sorted], q).toFixed(digits));
  return [quantile(0.5), quantile(0.99)];
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function mib(bytes: number): string {
  return count(bytes / 2 ** 20);
}
