import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { manifestOf, ROOT } from './support/publishable.js';

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}
interface Job {
  readonly uses?: string;
  readonly steps?: readonly Step[];
  readonly permissions?: Readonly<Record<string, string>>;
  readonly 'timeout-minutes'?: number;
  readonly strategy?: { readonly matrix: { readonly node?: readonly string[]; readonly include?: readonly Step[] } };
}
interface Workflow {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly concurrency?: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

const FOLDER = join(ROOT, '.github', 'workflows');
const workflows = readdirSync(FOLDER).map((file) => ({ file, text: readFileSync(join(FOLDER, file), 'utf8') }));
const jobs = workflows.flatMap(({ file, text }) =>
  Object.entries((parse(text) as Workflow).jobs).map(([name, job]) => ({ name: `${file}: ${name}`, job })),
);
const steps = jobs.flatMap(({ name, job }) => (job.steps ?? []).map((step) => ({ name, step })));
/** Shell lines of workflows, and of what these call. */
const commands = [
  ...steps.flatMap(({ step }) => step.run ?? []),
  ...['run', 'nodes'].map((file) => readFileSync(join(ROOT, '.ci', file), 'utf8')),
];

it('there is one workflow for commits and one for releases', () => {
  expect(workflows.map(({ file }) => file).sort()).toEqual(['ci.yml', 'release.yml']);
});

describe.each(workflows)('$file', ({ text }) => {
  const workflow = parse(text) as Workflow;

  it('may read and nothing else, but where a job says what it writes', () => {
    expect(workflow.permissions).toEqual({ contents: 'read' });
    expect(workflow.concurrency).toBeDefined();
    const written = Object.values(workflow.jobs).flatMap(({ permissions = {} }) =>
      Object.entries(permissions).flatMap(([scope, right]) => (right === 'write' ? scope : [])),
    );
    expect(written.filter((scope) => !['id-token', 'packages', 'contents'].includes(scope))).toEqual([]);
    expect(new Set(written).size).toBe(written.length);
  });

  it('ends in time', () => {
    for (const job of Object.values(workflow.jobs)) {
      if (job.uses === undefined) expect(job['timeout-minutes']).toBeLessThanOrEqual(120);
    }
  });
});

it('actions are pinned to a version', () => {
  const used = [...steps.map(({ step }) => step.uses), ...jobs.map(({ job }) => job.uses)].filter(
    (uses) => uses !== undefined,
  );
  expect(used.length).toBeGreaterThan(5);
  for (const uses of used) {
    if (uses.startsWith('./')) expect(existsSync(join(ROOT, uses))).toBe(true);
    else expect(uses).toMatch(/^[\w-]+\/[\w/-]+@v\d+(?:\.\d+){0,2}$|^[\w-]+\/[\w/-]+@[0-9a-f]{40}$/);
  }
});

it('npm scripts and files that are called are there', () => {
  const scripts = manifestOf(ROOT).scripts ?? {};
  const called = commands.flatMap((text) =>
    [...text.matchAll(/\bnpm run (?:-s )?([\w:-]+)/g)].map(([, name = '']) => name),
  );
  expect(called).toEqual(expect.arrayContaining(['lint', 'build']));
  for (const name of called) expect(Object.keys(scripts)).toContain(name);
  const files = commands.flatMap((text) => text.match(/\.ci\/[\w.-]+/g) ?? []);
  expect(files).toContain('.ci/run');
  for (const file of files) expect(existsSync(join(ROOT, file)), file).toBe(true);
});

it('targets of the Dockerfile that are built are there', () => {
  const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
  const stages = [...dockerfile.matchAll(/^FROM .+ AS ([\w-]+)$/gm)].map(([, stage]) => stage);
  const built = jobs.flatMap(({ job }) => job.strategy?.matrix.include ?? []).flatMap((entry) => Object.entries(entry));
  const targets = built.flatMap(([key, value]) => (key === 'target' ? String(value) : []));
  expect(new Set(targets)).toEqual(new Set(['server', 'training', 'server-cuda']));
  expect(stages).toEqual(expect.arrayContaining(targets));
});

it('every commit is tested on the oldest Node.js that is allowed, and the same that npm run test:nodes takes', () => {
  const { node = [] } = jobs.find(({ name }) => name === 'ci.yml: test')?.job.strategy?.matrix ?? {};
  expect(node).toHaveLength(3);
  expect(`>=${node[0]}`).toBe(manifestOf(ROOT).engines?.node);
  const [, local = ''] = /set -- ([\d. ]+);/.exec(readFileSync(join(ROOT, '.ci', 'nodes'), 'utf8')) ?? [];
  expect(local.split(' ')).toEqual(node);
});
