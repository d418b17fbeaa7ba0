import { spawnSync } from 'node:child_process';
import type { Block } from './documents.js';

const known = new Map<string, boolean>();

/** The modules that a block of or with Python imports and this machine's python3 lacks. */
export function missingModules({ language, text }: Block): string[] {
  if (language !== 'python' && !/\bpython3? /.test(text)) return [];
  const imports = [...text.matchAll(/\bfrom (\w+)[\w.]* import|\bimport (\w+(?:, *\w+)*)/g)].flatMap(
    ([, from, names = '']) => (from === undefined ? names.split(/, */) : [from]),
  );
  return [...new Set(imports)].filter((name) => !isInstalled(name));
}

function isInstalled(name: string): boolean {
  const isThere = known.get(name) ?? spawnSync('python3', ['-c', `import ${name}`]).status === 0;
  known.set(name, isThere);
  return isThere;
}
