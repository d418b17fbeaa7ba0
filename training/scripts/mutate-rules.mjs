#!/usr/bin/env node
// Shows that the gradient tests would notice a wrong rule: breaks each gradient of each rule in turn, once by its sign
// and once by a factor of two, in a copy of the built package, and expects the tests against finite differences and
// those against tfjs to fail. A development script (some minutes), no part of `npm test`. Build first, then
//   node training/scripts/mutate-rules.mjs [OPERATOR …]

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const TESTS = ['autodiff-finite-differences', 'autodiff-tfjs'];
const CHANGES = { sign: 'neg(gradient)', factor: 'mul(gradient, 2)' };

const copy = mkdtempSync(join(tmpdir(), 'elbo-mutants-'));
try {
  prepareCopy();
  const applied = join(copy, 'applied.txt');
  writeFileSync(applied, '');
  const untouched = run('', { MUTANT_RECORD: applied });
  if (untouched.some(({ failed, passed }) => failed > 0 || passed === 0)) {
    throw new Error(`the tests must pass before anything is broken: ${JSON.stringify(untouched)}`);
  }

  const wanted = process.argv.slice(2);
  const gradients = [...new Set(readFileSync(applied, 'utf8').trim().split('\n'))]
    .filter((gradient) => wanted.length === 0 || wanted.includes(gradient.split(':')[0]))
    .sort();
  let survivors = 0;
  for (const gradient of gradients) {
    for (const change of Object.keys(CHANGES)) {
      const [operator] = gradient.split(':');
      const results = run(`${operator}: `, { MUTANT: `${gradient}:${change}` });
      const blind = results.filter(({ failed }) => failed === 0).map(({ file }) => file);
      survivors += blind.length > 0 ? 1 : 0;
      const counts = results.map(({ failed, passed }) => `${failed} of ${failed + passed}`).join(', ');
      console.log(
        `${blind.length === 0 ? 'found ' : 'MISSED'}  ${gradient} ${change}: ${counts} tests fail${blind.map((file) => `; not noticed by ${file}`).join('')}`,
      );
    }
  }
  console.log(
    `${gradients.length * 2 - survivors} of ${gradients.length * 2} mutants found by both ${TESTS.join(' and ')}`,
  );
  process.exitCode = survivors === 0 ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true, force: true });
}

/** The repository as far as the tests need it, with the rules open to MUTANT=operator:input:change. */
function prepareCopy() {
  mkdirSync(join(copy, 'node_modules', '@elbo'), { recursive: true });
  for (const entry of readdirSync(join(REPOSITORY, 'node_modules'))) {
    if (entry !== '@elbo') symlinkSync(join(REPOSITORY, 'node_modules', entry), join(copy, 'node_modules', entry));
  }
  symlinkSync(join(REPOSITORY, 'models'), join(copy, 'node_modules', '@elbo', 'models'));
  symlinkSync(join(copy, 'training'), join(copy, 'node_modules', '@elbo', 'training'));
  for (const part of [
    'package.json',
    'vitest.config.ts',
    'test/training/support',
    'training/package.json',
    'training/dist',
    ...TESTS.map((name) => `test/training/${name}.test.ts`),
  ]) {
    cpSync(join(REPOSITORY, part), join(copy, part), { recursive: true });
  }
  const nested = join(REPOSITORY, 'training', 'node_modules');
  if (existsSync(nested)) symlinkSync(nested, join(copy, 'training', 'node_modules'));

  const file = join(copy, 'training', 'dist', 'autodiff', 'rules.js');
  const source = readFileSync(file, 'utf8');
  const declaration = 'export function ruleOf(';
  if (!source.includes(declaration)) throw new Error(`${file} does not declare ruleOf as expected`);
  writeFileSync(
    file,
    `import { appendFileSync } from 'node:fs';
${source.replace(declaration, 'function trueRuleOf(')}
const changes = { ${Object.entries(CHANGES)
      .map(([name, code]) => `${name}: (gradient) => ${code}`)
      .join(', ')} };
const [mutant, mutatedInput, change] = (process.env.MUTANT ?? '').split(':');
export function ruleOf(operator) {
  const rule = trueRuleOf(operator);
  return (view, g) =>
    rule(view, g).map((gradientOf, input) => gradientOf && (() => {
      if (process.env.MUTANT_RECORD) appendFileSync(process.env.MUTANT_RECORD, operator + ':' + input + '\\n');
      const gradient = gradientOf();
      return operator === mutant && String(input) === mutatedInput ? changes[change](gradient) : gradient;
    }));
}
`,
  );
}

/** How many tests of each file fail and pass, of those whose name begins with an operator's. */
function run(testName, environment) {
  const report = join(copy, 'report.json');
  rmSync(report, { force: true });
  const vitest = join(REPOSITORY, 'node_modules', 'vitest', 'vitest.mjs');
  const options = ['run', '--root', copy, '--reporter=json', `--outputFile=${report}`];
  const filter = testName === '' ? [] : ['--testNamePattern', `(^| )${testName}`];
  const { stderr } = spawnSync(process.execPath, [vitest, ...options, ...filter], {
    cwd: copy,
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  if (!existsSync(report)) throw new Error(`vitest did not run: ${stderr}`);
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
  return TESTS.map((file) => {
    const statuses = testResults
      .filter(({ name }) => name.includes(file))
      .flatMap(({ assertionResults }) => assertionResults.map(({ status }) => status));
    const count = (wanted) => statuses.filter((status) => status === wanted).length;
    return { file, failed: count('failed'), passed: count('passed') };
  });
}
