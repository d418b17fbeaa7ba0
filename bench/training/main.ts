import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { TOLERANCE } from './agreement.js';
import { measure } from './measurement.js';
import { createReport, describe, loadAverage } from './report.js';

const RESULTS = new URL('../../training/RESULTS.md', import.meta.url);
const USAGE = 'npm run bench:training -- [--steps N] [--write] [--json]';

const { steps, write, json } = readArguments();
const loadBefore = loadAverage();
const measurement = await measure(steps, progress).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
progress('');
const report = createReport(measurement, loadBefore);
const text = describe(report);
console.log(text);
if (!report.agrees) {
  console.error(`a peer does not compute what Elbo computes: expected differences of at most ${TOLERANCE}`);
  process.exitCode = 1;
} else if (write) {
  await writeFile(RESULTS, `# Training, beside tfjs\n\nWritten by \`npm run bench:training -- --write\`.\n\n${text}\n`);
}
if (json) console.log(JSON.stringify(report));

function readArguments(): { steps: number | undefined; write: boolean; json: boolean } {
  try {
    const { values } = parseArgs({
      options: { steps: { type: 'string' }, write: { type: 'boolean' }, json: { type: 'boolean' } },
    });
    const steps = values.steps === undefined ? undefined : Number(values.steps);
    if (steps !== undefined && !(Number.isInteger(steps) && steps >= 1)) {
      throw new Error(`--steps ${values.steps}: expected a whole number of at least 1; the default is one epoch`);
    }
    return { steps, write: values.write ?? false, json: values.json ?? false };
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error} (${USAGE})`);
    process.exit(2);
  }
}

/** One line that is written over on a terminal; a line each on a pipe. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  else if (text !== '') console.error(text);
}
