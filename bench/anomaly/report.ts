import type { Measurement } from './measure.js';
import { GROUPS } from './tasks.js';

/** Markdown tables of what was measured. */
export function report(measurements: readonly Measurement[]): string {
  const parts = GROUPS.flatMap((group) => {
    const own = measurements.filter((each) => each.group === group);
    if (own.length === 0) return [];
    return [`## ${group}`, '', ...tableOf(group === 'tables' ? bySplits(own) : own), ''];
  });
  const stated = measurements.flatMap(({ alarms }) => alarms ?? []);
  const within = stated.filter(({ count, interval: [low, high] }) => count >= low && count <= high).length;
  return [
    ...parts,
    `Thresholds of 1 %: the normal held-out examples above them lie in the interval of 99 % in ${within} of ${stated.length} tasks that state such a rate.`,
  ].join('\n');
}

/** A row for each table: the means over its splits. */
function bySplits(measurements: readonly Measurement[]): Measurement[] {
  const tables = new Map<string, Measurement[]>();
  for (const each of measurements) {
    const [table] = each.name.split(' ');
    tables.set(table, [...(tables.get(table) ?? []), each]);
  }
  return [...tables].map(([name, splits]) => ({
    ...splits[0],
    name: `${name} (${splits.length})`,
    auroc: mean(splits.map(({ auroc }) => auroc)),
    seconds: mean(splits.map(({ seconds }) => seconds)),
    alarms: undefined,
    ...(splits[0].peers && {
      peers: Object.fromEntries(
        Object.keys(splits[0].peers).map((peer) => {
          const areas = splits.flatMap(({ peers }) => peers?.[peer] ?? []);
          return [peer, areas.length === splits.length ? mean(areas) : null];
        }),
      ),
    }),
  }));
}

function tableOf(rows: readonly Measurement[]): string[] {
  const peers = [...new Set(rows.flatMap((row) => Object.keys(row.peers ?? {})))];
  const hasAlarms = rows.some(({ alarms }) => alarms !== undefined);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const header = ['task', 'Elbo', ...peers, ...(hasAlarms ? ['alarms at 1 %', 'of', 'in 99 %'] : []), 'seconds'];
  const shown = (area: number | null | undefined) => (typeof area === 'number' ? area.toFixed(3) : '—');
  const cells = (row: Measurement) => [
    row.name,
    shown(row.auroc),
    ...peers.map((peer) => shown(row.peers?.[peer])),
    ...(hasAlarms
      ? [String(row.alarms?.count ?? '—'), String(row.alarms?.of ?? '—'), row.alarms?.interval.join(' … ') ?? '—']
      : []),
    row.seconds.toFixed(0),
  ];
  /** Of a peer that left tasks out: its mean over the others, and Elbo's over the same. */
  const averageOf = (peer: string) => {
    const taken = rows.filter((row) => typeof row.peers?.[peer] === 'number');
    if (taken.length === 0) return shown(null);
    const area = mean(taken.map((row) => row.peers?.[peer] ?? 0));
    if (taken.length === rows.length) return shown(area);
    return `${shown(area)} of ${taken.length}, where Elbo has ${shown(mean(taken.map(({ auroc }) => auroc)))}`;
  };
  return [
    line(header),
    line(header.map(() => '---')),
    ...rows.map((row) => line(cells(row))),
    line([
      '**mean**',
      shown(mean(rows.map(({ auroc }) => auroc))),
      ...peers.map(averageOf),
      ...(hasAlarms ? ['', '', ''] : []),
      '',
    ]),
  ];
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value / values.length, 0);
