import { readdirSync } from 'node:fs';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { type Measurement, measure } from './measure.js';
import { report } from './report.js';
import { GROUPS, tasksOf } from './tasks.js';

// How well the exported score tells anomalies, beside Python detectors on the same examples.

const USAGE = `npm run bench:anomaly -- --data-dir DIR [--group ${GROUPS.join('|')}]… [--splits N] [--python PYTHON] [--results FILE] [--models STORE] [--threads N]
  DIR holds mnist, fashion-mnist and odds. PYTHON has the packages of bench/anomaly/peers/requirements.txt.
  FILE keeps a line of JSON a task: a task that it holds is not measured again.`;

const { values: flags } = parseArgs({
  options: {
    'data-dir': { type: 'string' },
    group: { type: 'string', multiple: true },
    splits: { type: 'string', default: '10' },
    python: { type: 'string' },
    results: { type: 'string' },
    models: { type: 'string', default: 'models' },
    threads: { type: 'string', default: '1' },
  },
});
const dataDir = flags['data-dir'];
const groups = GROUPS.filter((group) => flags.group?.includes(group) ?? true);
if (dataDir === undefined || groups.length === 0) {
  console.error(USAGE);
  process.exit(2);
}

const odds = join(dataDir, 'odds');
const tables = readdirSync(odds)
  .filter((name) => name.endsWith('.npz'))
  .map((name) => join(odds, name));
const engine = new OnnxRuntimeEngine(Number(flags.threads));
const measured = await earlier(flags.results);
for (const group of groups) {
  for await (const task of tasksOf(group, { dataDir, tables, splits: Number(flags.splits) })) {
    if (measured.some(({ group: known, name }) => known === group && name === task.name)) continue;
    if (task.anomalous.count === 0) {
      console.error(`${group} ${task.name}: no anomaly is in the held-out part; left out`);
      continue;
    }
    const measurement = await measure(engine, task, { models: flags.models, python: flags.python });
    console.error(`${group} ${task.name}: ${measurement.auroc.toFixed(3)} (${measurement.seconds.toFixed(0)} s)`);
    measured.push(measurement);
    if (flags.results !== undefined) await appendFile(flags.results, `${JSON.stringify(measurement)}\n`);
  }
}
console.log(report(measured.filter(({ group }) => groups.some((each) => each === group))));

async function earlier(path: string | undefined): Promise<Measurement[]> {
  if (path === undefined) return [];
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Measurement);
}
