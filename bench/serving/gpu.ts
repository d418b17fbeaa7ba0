import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { cudaLibraryMissing, unusableReason } from '@elbo/server/inference/provider';
import { loadAverage, machine } from '../training/report.js';
import { CONTENDERS, type Contender } from './contenders.js';
import { BATCHES, type ProviderResult, TIMED } from './gpu-measurement.js';
import { MODELS } from './measurement.js';
import { ServerProcess } from './server-process.js';

const RESULTS = fileURLToPath(new URL('../../serving/GPU.md', import.meta.url));
const PROCESS = fileURLToPath(new URL('gpu-process.js', import.meta.url));
const USAGE = 'npm run bench:gpu -- [--seconds N] [--write]';
const PROVIDERS = ['cpu', 'cuda', 'webgpu'] as const;
type ProviderName = (typeof PROVIDERS)[number];

interface Measured extends ProviderResult {
  /** How Elbo's server starts, in words. */
  readonly server: string;
}

const PARITY = 1e-3;
/** Vulkan's names of drivers that compute on the CPU. */
const SOFTWARE = /llvmpipe|swiftshader/i;

const run = promisify(execFile);
const { seconds, write } = readArguments();
const loadBefore = loadAverage();
const results = new Map<ProviderName, Measured>();
const absent: string[] = [];
for (const provider of PROVIDERS) {
  try {
    // In a process of its own: a native library that fails to load may end it.
    const { stdout } = await run(process.execPath, [PROCESS, provider, MODELS, String(seconds)]);
    results.set(provider, { ...(JSON.parse(stdout) as ProviderResult), server: await serverStart(provider) });
  } catch (error) {
    const { stderr = '', message } = error as Error & { readonly stderr?: string };
    const said = /^\w*Error: (.+)$/m.exec(stderr)?.[1] ?? message.split('\n')[0] ?? '';
    const reason = (provider === 'cuda' ? cudaLibraryMissing() : undefined) ?? unusableReason(provider, said);
    absent.push(`- Without ${provider}: ${reason}.`);
  }
}
const text = await describe();
console.log(text);
if (write) {
  await writeFile(RESULTS, `# GPU beside CPU\n\nWritten by \`npm run bench:gpu -- --write\`.\n\n${text}\n`);
}

/** Seconds from the start of Elbo's server to ready, and its resident set then; or why it did not become ready. */
async function serverStart(provider: ProviderName): Promise<string> {
  const contender: Contender = {
    ...CONTENDERS[0],
    command: (settings) => {
      const { environment, ...command } = CONTENDERS[0].command(settings);
      return { ...command, environment: { ...environment, ELBO_PROVIDER: provider } };
    },
  };
  try {
    const server = await ServerProcess.start(contender, { workers: 1, store: MODELS });
    const { residentBytes } = server.usage;
    await server.stop();
    return `${server.secondsToReady.toFixed(1)}; ${(residentBytes / 2 ** 20).toFixed(0)}`;
  } catch (error) {
    return (error as Error).message;
  }
}

async function describe(): Promise<string> {
  const measured = [...results];
  const columns = measured.map(([provider]) => provider);
  const cells = (of: (result: Measured) => string) => measured.map(([, result]) => of(result));
  const [, cpu] = measured[0] ?? [];
  if (cpu === undefined) throw new Error(`the CPU could not be measured: ${absent.join('\n')}`);
  const adapters = await Promise.all(columns.filter((name) => name !== 'cpu').map(adapterLine));
  return [
    `\`npm run bench:gpu -- --seconds ${seconds}\`. ${machine(loadBefore, 1)}`,
    ...(loadBefore > 0.7 ? ['The machine was busy with other work; run it again on an idle one.'] : []),
    [...adapters, ...absent].join('\n'),
    '## Start, memory, parity',
    table(
      ['', ...columns],
      [
        ['start of a process to the first answer, ms', ...cells(({ firstAnswerMs }) => firstAnswerMs.toFixed(0))],
        ['second answer, ms', ...cells(({ secondAnswerMs }) => secondAnswerMs.toFixed(1))],
        ['resident set with one graph, MiB', ...cells(({ residentBytes }) => (residentBytes / 2 ** 20).toFixed(0))],
        ['in use on the card then, MiB', ...cells(({ cardMib }) => String(cardMib ?? '–'))],
        ['server with all shipped models: start to ready, s; resident set, MiB', ...cells(({ server }) => server)],
        ...Object.keys(cpu.differences).map((model) => [
          `${model}: largest difference from the CPU`,
          ...cells(({ differences }) => verdict(differences[model] ?? Number.NaN)),
        ]),
      ],
    ),
    `Differences are of a number or of 1, whichever is larger, over 16 items of noise and every output of every graph; at most ${PARITY} is asked.`,
    `## Items a second of ${TIMED}, with what is uploaded and read back`,
    ...Object.keys(cpu.rates).map((call) =>
      table(
        [`${call}, batch`, ...columns],
        BATCHES.map((rows, i) => [
          String(rows),
          ...cells(({ rates }) => Math.round(rates[call]?.[i] ?? Number.NaN).toLocaleString('en')),
        ]),
      ),
    ),
  ].join('\n\n');
}

function verdict(difference: number): string {
  return `${difference.toExponential(0)}${difference <= PARITY ? '' : ' **too large**'}`;
}

/** Which card it was, and whether it was one. */
async function adapterLine(provider: ProviderName): Promise<string> {
  const name = provider === 'cuda' ? await nvidiaName() : await vulkanName();
  const honest = SOFTWARE.test(name)
    ? ' This is a **software adapter**: it computes on the CPU. What is measured here proves function and parity, and says nothing about the speed of a GPU.'
    : '';
  return `- ${provider} ran on: ${name}.${honest}`;
}

async function nvidiaName(): Promise<string> {
  const fields = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  return (await output('nvidia-smi', fields))?.split('\n')[0] ?? 'an adapter that nvidia-smi does not name here';
}

async function vulkanName(): Promise<string> {
  const summary = await output('vulkaninfo', ['--summary']);
  const field = (name: string) => new RegExp(`^\\s*${name}\\s*= (.+)$`, 'm').exec(summary ?? '')?.[1];
  const device = field('deviceName');
  if (device === undefined) return 'an adapter without a name (vulkaninfo, of vulkan-tools, would tell it)';
  return `${device}, driver ${field('driverName')} ${field('driverInfo') ?? ''}`.trim();
}

async function output(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await run(program, args)).stdout.trim();
  } catch {
    return undefined;
  }
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function readArguments(): { readonly seconds: number; readonly write: boolean } {
  try {
    const { values } = parseArgs({ options: { seconds: { type: 'string' }, write: { type: 'boolean' } } });
    const number = Number(values.seconds ?? 2);
    if (!(number > 0)) throw new Error(`--seconds ${values.seconds}: expected a number above 0`);
    return { seconds: number, write: values.write ?? false };
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}
