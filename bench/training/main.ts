import { statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { absence, CONTENDERS } from './contenders.js';
import { measure } from './measurement.js';
import { describe, disagreeing, loadAverage, type WorkloadResult } from './report.js';
import { WORKLOADS, writeWorkloadData } from './workloads.js';

const RESULTS = new URL('../../training/RESULTS.md', import.meta.url);
const USAGE =
  'npm run bench:training -- [--workloads a,b,c] [--contenders elbo,torch,…] [--steps N] [--rounds N] [--max-rounds N] [--threads N] [--write] [--json]';

const options = readArguments();
const loadBefore = loadAverage();
const directory = await mkdtemp(join(tmpdir(), 'elbo-bench-'));
const results: WorkloadResult[] = [];
try {
  const absent: Record<string, string> = {};
  for (const contender of CONTENDERS) {
    const reason = await absence(contender);
    if (reason !== undefined) absent[contender.name] = reason;
  }
  for (const name of options.workloads) {
    const workload = WORKLOADS[name];
    progress(`${name}: writing data`);
    const { data, description } = await writeWorkloadData(workload, directory, dataDirectory());
    const present = CONTENDERS.filter(
      (contender) =>
        options.contenders.includes(contender.name) &&
        contender.workloads.includes(name) &&
        absent[contender.name] === undefined,
    );
    const { outcomes, failures } = await measure(name, workload, data, present, options, directory, progress);
    if (outcomes.elbo === undefined) throw new Error(`Elbo cannot train (${name}): ${failures.elbo}`);
    results.push({ name, workload, data: description, outcomes, absent: { ...absent, ...failures } });
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
progress('');
const text = describe(results, loadBefore, options.threads);
console.log(text);
const wrong = disagreeing(results);
if (wrong.length > 0) {
  console.error(`a contender does not compute what Elbo computes: ${wrong.join('; ')}`);
  process.exitCode = 1;
} else if (options.write) {
  const preface =
    'Written by `npm run bench:training -- --write`. All contenders train the same model on the same bytes, in turns, each in a process of its own; "difference" is that of the loss and of the gradient norm of one batch with the same weights and noise.';
  await writeFile(RESULTS, `# Training, beside PyTorch, TensorFlow, JAX and tfjs\n\n${preface}\n\n${text}\n`);
}
if (options.json) console.log(JSON.stringify(results));

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        workloads: { type: 'string', default: Object.keys(WORKLOADS).join() },
        contenders: { type: 'string', default: CONTENDERS.map(({ name }) => name).join() },
        steps: { type: 'string', default: '50' },
        rounds: { type: 'string', default: '8' },
        'max-rounds': { type: 'string', default: '60' },
        threads: { type: 'string', default: String(availableParallelism()) },
        write: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    });
    const number = (name: 'steps' | 'rounds' | 'max-rounds' | 'threads') => {
      const value = Number(values[name]);
      if (!(Number.isInteger(value) && value >= 1)) {
        throw new Error(`--${name} ${values[name]}: expected a whole number of at least 1`);
      }
      return value;
    };
    const names = (flag: 'workloads' | 'contenders', known: readonly string[]) =>
      values[flag].split(',').map((name) => {
        if (!known.includes(name)) throw new Error(`--${flag} ${name}: expected some of ${known.join(', ')}`);
        return name;
      });
    const contenders = names(
      'contenders',
      CONTENDERS.map(({ name }) => name),
    );
    if (!contenders.includes('elbo')) throw new Error('--contenders: expected elbo among them');
    return {
      workloads: names('workloads', Object.keys(WORKLOADS)),
      contenders,
      steps: number('steps'),
      rounds: number('rounds'),
      maxRounds: number('max-rounds'),
      threads: number('threads'),
      write: values.write,
      json: values.json,
    };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error} (${USAGE})`);
    process.exit(2);
  }
}

/** ELBO_DATA_DIR, else the data directory beside the repository, where it holds MNIST. */
function dataDirectory(): string | undefined {
  const repository = fileURLToPath(new URL('../../..', import.meta.url));
  const named = process.env.ELBO_DATA_DIR;
  const directory = named ?? join(dirname(repository), 'shared', 'data');
  if (statSync(`${directory}/mnist`, { throwIfNoEntry: false })?.isDirectory()) return directory;
  if (named !== undefined) throw new Error(`ELBO_DATA_DIR is ${named}; expected a directory that holds mnist/`);
  return undefined;
}

/** One line that is written over on a terminal; a line each on a pipe. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  else if (text !== '') console.error(text);
}
