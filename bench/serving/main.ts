import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadAverage } from '../training/report.js';
import { bareHttp } from './bare-http.js';
import { bareLoop } from './bare-loop.js';
import { absence, CONTENDERS, type Contender } from './contenders.js';
import { GOAL_CONNECTIONS, MODELS, measureContender, measureElbo, type Outcome } from './measurement.js';
import { payloads } from './payloads.js';
import { describe } from './report.js';

const RESULTS = fileURLToPath(new URL('../../serving/RESULTS.md', import.meta.url));
const USAGE = 'npm run bench:serving -- [--seconds N] [--contender elbo,fastapi,…] [--quick] [--write]';

const options = readArguments();
const loadBefore = loadAverage();
const workers = availableParallelism();
const directory = await mkdtemp(join(tmpdir(), 'elbo-serving-'));
// A signal ends the process by its exit handlers, which end the servers.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
try {
  const store = await storeOf('one', ['mnist']);
  const storeOfThree = await storeOf('three', ['mnist', 'fashion-mnist', 'shapes']);
  const requests = await payloads(join(store, 'mnist', '1'));
  const plan = {
    store,
    seconds: options.seconds,
    warmUpSeconds: Math.min(2, options.seconds / 2),
    connections: options.quick ? [GOAL_CONNECTIONS] : [1, 16, GOAL_CONNECTIONS, 256],
  };
  progress('the bare loop');
  const bulk = { graph: join(store, 'mnist', '1', 'encoder.onnx'), shape: requests[0].input.shape, rows: 64 };
  const bareRate = await bareLoop({ ...bulk, seconds: options.seconds }, workers);
  progress('bare HTTP');
  const [single] = requests;
  const answerBytes = 4 * (single.expected.mean.length + single.expected.logVariance.length);
  const bareHttpRate = await bareHttp(CONTENDERS[0].request(single), answerBytes, {
    ...plan,
    connections: GOAL_CONNECTIONS,
  });
  const outcomes = new Map<Contender, Outcome>();
  for (const contender of options.contenders) {
    const reason = absence(contender);
    outcomes.set(
      contender,
      reason === undefined ? await measureContender(contender, requests, plan, progress) : { failure: reason },
    );
  }
  const [ours] = outcomes.values();
  if ('failure' in ours) throw new Error(`Elbo cannot serve: ${ours.failure}`);
  const own = await measureElbo(requests, ours, plan, storeOfThree, progress);
  progress('');
  const { command, seconds } = options;
  const text = describe(
    { outcomes, own, bareLoop: bareRate, bareHttp: bareHttpRate },
    { command, seconds, workers, loadBefore },
  );
  console.log(text);
  if (options.write) {
    const preface =
      'Written by `npm run bench:serving -- --write`. `encode` of the mnist model: the same encoder.onnx behind every server, one after the other, each with as many workers as there are cores and one thread of ONNX Runtime in each. Answers are held against those of the graph before anything is measured. float32 bodies are answered with float32, the others with JSON. Peers check less of what they are sent than Elbo does.';
    await writeFile(
      RESULTS,
      `# Serving, beside FastAPI, LitServe, BentoML, Mosec and MLServer\n\n${preface}\n\n${text}\n`,
    );
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function storeOf(name: string, models: readonly string[]): Promise<string> {
  for (const model of models) await cp(join(MODELS, model), join(directory, name, model), { recursive: true });
  return join(directory, name);
}

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        seconds: { type: 'string' },
        contender: { type: 'string', default: CONTENDERS.map(({ name }) => name).join() },
        quick: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
      },
    });
    const seconds = Number(values.seconds ?? (values.quick ? 1 : 5));
    if (!(seconds > 0 && seconds <= 600))
      throw new Error(`--seconds ${values.seconds}: expected more than 0, up to 600`);
    const names = values.contender.split(',');
    const unknown = names.find((name) => CONTENDERS.every((contender) => contender.name !== name));
    if (unknown !== undefined) {
      throw new Error(`--contender ${unknown}: expected some of ${CONTENDERS.map(({ name }) => name).join(', ')}`);
    }
    const [elbo, ...peers] = CONTENDERS;
    const given = process.argv.slice(2).join(' ');
    return {
      seconds,
      // The goals are about Elbo, whoever else is asked for.
      contenders: [elbo, ...peers.filter(({ name }) => names.includes(name))],
      quick: values.quick,
      write: values.write,
      command: `npm run bench:serving${given === '' ? '' : ` -- ${given}`}`,
    };
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
