import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { dataDirectory } from '../../support/data-directory.js';
import { type Block, isRun, type Page, readPage, repository } from './documents.js';

/**
 * What keeps the time of the tests short, unless ELBO_DOCS_WHOLE is set: commands do what they do, with fewer examples and
 * epochs. The last of an option given twice holds.
 */
const SHORTENED: Readonly<Record<string, string>> = {
  train: '--epochs 1 --limit 200',
  evaluate: '--limit 100',
  report: '--limit 100',
  prune: '--limit 200',
  export: '--limit 200',
};

const isWhole = process.env.ELBO_DOCS_WHOLE !== undefined;
const shortened = (command: string) => (isWhole ? '' : (SHORTENED[command] ?? ''));

/**
 * What the shell knows before a block: `npx elbo` without npm's start, shortened; a build that was made already; and a curl
 * that fails where the service does.
 */
const PREAMBLE = `set -euo pipefail
npx() { case "$1" in elbo) shift; case "$1" in
${Object.keys(SHORTENED)
  .map((command) => `  ${command}) node "$ELBO_REPOSITORY/training/bin/elbo.js" "$@" ${shortened(command)} ;;`)
  .join('\n')}
  *) node "$ELBO_REPOSITORY/training/bin/elbo.js" "$@" ;; esac ;;
  *) command npx --no-install "$@" ;; esac; }
npm() { case "$*" in 'run build') ;; *) command npm "$@" ;; esac; }
curl() { command curl --fail-with-body --silent --show-error "$@"; }
`;

/** A line that starts the service. */
const START = /^(?:[A-Z][A-Z0-9_]*=(?:\$\([^)]*\)|\S+) )*npm start$/;
const ADDRESS = 'localhost:8080';

/** A block that takes so long hangs, on however slow a machine. */
const HANGING_MS = 540_000;

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** What is left of a page that was run. */
interface Result {
  readonly folder: string;
  /** The last line that started the service, if one did. */
  readonly start: string | undefined;
}

/** Why a block is not run here, if it is not. */
export function reasonNotRun(block: Block, missingModules: (block: Block) => readonly string[]): string | undefined {
  if (block.notRun !== undefined) return block.notRun;
  if (/^npm ci\b/m.test(block.text)) return 'is how this checkout was installed';
  if (needsData(block) && dataDirectory() === undefined) return 'needs a data directory (ELBO_DATA_DIR)';
  const missing = missingModules(block);
  return missing.length === 0 ? undefined : `needs python3 with ${missing.join(', ')}`;
}

export const needsData = ({ text }: Block) => /\bDIR\b|--data-dir/.test(text);

/** Runs pages, each once, in a working folder of its own that looks like a checkout. */
export class PageRunner {
  readonly #results = new Map<string, Promise<Result>>();
  readonly #folders: string[] = [];
  readonly #missingModules: (block: Block) => readonly string[];

  constructor(missingModules: (block: Block) => readonly string[]) {
    this.#missingModules = missingModules;
  }

  /** @throws {Error} with the output of the first block that did not do what the page says */
  run(page: Page): Promise<Result> {
    const known = this.#results.get(page.path);
    if (known !== undefined) return known;
    const result = this.#run(page);
    this.#results.set(page.path, result);
    return result;
  }

  async remove(): Promise<void> {
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true });
  }

  async #run(page: Page): Promise<Result> {
    const before = page.after === undefined ? undefined : await this.run(readPage(page.after));
    const folder = await mkdtemp(join(tmpdir(), 'elbo-docs-'));
    this.#folders.push(folder);
    await (before === undefined
      ? checkout(folder)
      : cp(before.folder, folder, { recursive: true, verbatimSymlinks: true }));
    let start = before?.start;
    let service: Service | undefined;
    try {
      for (const block of page.blocks.filter(isRun)) {
        if (reasonNotRun(block, this.#missingModules) !== undefined) continue;
        const lines = block.text.split('\n');
        const starts = lines.filter((line) => START.test(line));
        if (starts.length > 0) {
          if (lines.length > 1) throw new Error(`${block.place}: a service is started by a block of its own`);
          [start] = starts;
          await service?.stop();
          service = await Service.start(start ?? '', folder);
          continue;
        }
        if (block.text.includes('npm start')) throw new Error(`${block.place}: how is the service started here?`);
        if (block.text.includes(ADDRESS)) service ??= await Service.start(start ?? 'npm start', folder);
        const ended = await runBlock(block, folder, service?.address ?? ADDRESS);
        check(block, ended);
      }
    } finally {
      await service?.stop();
    }
    return { folder, start };
  }
}

/**
 * Runs the blocks of a page that ask the service as `npm start` gives it, against one that runs already.
 * @returns how many there were
 * @throws {Error} with the output of the first block that did not do what the page says
 */
export async function runAgainst(page: Page, address: string): Promise<number> {
  const startOfAnother = page.blocks.findIndex(({ text }) => START.test(text) && text !== 'npm start');
  const blocks = page.blocks.slice(0, startOfAnother < 0 ? undefined : startOfAnother);
  const asking = blocks.filter((block) => isRun(block) && block.notRun === undefined && block.text.includes(ADDRESS));
  const folder = await mkdtemp(join(tmpdir(), 'elbo-docs-'));
  try {
    for (const block of asking) check(block, await runBlock(block, folder, address));
  } finally {
    await rm(folder, { recursive: true });
  }
  return asking.length;
}

/** A folder with what a checkout has; what commands write into it stays there. */
async function checkout(folder: string): Promise<void> {
  for (const name of await readdir(repository)) {
    if (name === 'models' || name === '.git') continue;
    await symlink(join(repository, name), join(folder, name));
  }
  await mkdir(join(folder, 'models'));
  for (const name of await readdir(join(repository, 'models'))) {
    const [from, to] = [join(repository, 'models', name), join(folder, 'models', name)];
    if (['src', 'dist', 'node_modules', 'package.json', 'tsconfig.json'].includes(name)) await symlink(from, to);
    else await cp(from, to, { recursive: true });
  }
}

async function runBlock(block: Block, folder: string, address: string): Promise<Ended> {
  const data = dataDirectory();
  const text = (
    needsData(block) && data !== undefined ? block.text.replaceAll(/\bDIR\b/g, data) : block.text
  ).replaceAll(ADDRESS, address);
  if (block.language === 'python') return run('python3', ['-c', text], folder);
  if (block.language === 'sh') return run('bash', ['-c', `${PREAMBLE}${text}`], folder);
  const file = `snippet.m${block.language}`;
  await writeFile(join(folder, file), text);
  if (block.language === 'ts') {
    const flags = ['--module', 'nodenext', '--target', 'es2023', '--strict', '--skipLibCheck', '--types', 'node'];
    const compiled = await run('node', ['node_modules/typescript/bin/tsc', '--ignoreConfig', ...flags, file], folder);
    if (compiled.code !== 0) return compiled;
  }
  return run('node', ['snippet.mjs'], folder);
}

function check({ place, text, fails, prints, printsTrained }: Block, { code, output }: Ended): void {
  const wrong = (what: string) => new Error(`${place}: ${what}\n\n${text}\n\n${output}`);
  if (fails !== (code !== 0)) throw wrong(fails ? 'expected to fail' : `ended with ${code}`);
  for (const expected of isWhole ? [...prints, ...printsTrained] : prints) {
    if (!output.includes(expected)) throw wrong(`did not print "${expected}"`);
  }
}

async function run(program: string, args: readonly string[], cwd: string): Promise<Ended> {
  const child = spawn(program, args, {
    cwd,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANGING_MS,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

/** Without settings of whoever runs the tests; no command leaves the machine. */
function environment(): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ELBO|OTEL|NODE)_/.test(name));
  return { ...Object.fromEntries(inherited), ELBO_REPOSITORY: repository.replace(/\/$/, ''), NODE_ENV: undefined };
}

/** The service, as a line of a page starts it, on a port of the system's choice. */
class Service {
  readonly address: string;
  readonly #child: ChildProcess;

  private constructor(address: string, child: ChildProcess) {
    this.address = address;
    this.#child = child;
  }

  static async start(line: string, cwd: string): Promise<Service> {
    // The store of the checkout stands in for the repository's own, which commands must not write to.
    const command = line.replace(/npm start$/, 'exec node server/dist/main.js');
    const settings = {
      ELBO_HOST: '127.0.0.1',
      ELBO_PORT: '0',
      ELBO_WORKERS: '1',
      ELBO_MODELS_DIR: join(cwd, 'models'),
    };
    const child = spawn('bash', ['-c', command], {
      cwd,
      env: { ...environment(), ...settings, ELBO_STORE_POLL_MS: '200' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface(child.stdout);
    const address = await new Promise<string>((resolve, reject) => {
      lines.on('line', (text) => {
        const { address: url } = JSON.parse(text) as { address?: string };
        if (url !== undefined) resolve(url.replace('http://', ''));
      });
      child.once('exit', (code) => reject(new Error(`${line}: ended with ${code} before it served`)));
    });
    return new Service(address, child);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }
}
