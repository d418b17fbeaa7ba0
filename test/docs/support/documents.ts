import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** Languages of blocks that are run, and of those that only show something. */
const RUN = ['sh', 'python', 'js', 'ts'] as const;
const SHOWN = ['text', 'math', 'json', 'csv', 'yaml', 'html'] as const;
export type RunLanguage = (typeof RUN)[number];

/** A fenced block of a page. */
export interface Block {
  /** `docs/tutorial/images.md:12`, the line of its first fence. */
  readonly place: string;
  readonly language: string;
  readonly text: string;
  /** From comments directly before it. */
  readonly notRun: string | undefined;
  readonly fails: boolean;
  /** What its output holds, and what it holds besides where trainings are as long as the page says. */
  readonly prints: readonly string[];
  readonly printsTrained: readonly string[];
}

export interface Page {
  /** Below the repository, with slashes. */
  readonly path: string;
  readonly text: string;
  /** The page that this one goes on from. */
  readonly after: string | undefined;
  readonly blocks: readonly Block[];
}

/** README.md and all pages below docs/ but those that are written by a program. */
export function writtenPages(): Page[] {
  return ['README.md', ...markdownFiles(join(repository, 'docs'))]
    .filter((path) => !path.startsWith('docs/reference/'))
    .map(readPage);
}

export function markdownFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => relative(repository, join(folder, name)).replaceAll('\\', '/'))
    .sort();
}

export function readPage(path: string): Page {
  const text = readFileSync(join(repository, path), 'utf8');
  const after = /^<!-- after: (\S+) -->$/m.exec(text)?.[1];
  return { path, text, after, blocks: blocksOf(path, text) };
}

/** @throws {Error} where a fence is not closed or a comment before a block means nothing */
export function blocksOf(path: string, text: string): Block[] {
  const lines = text.split('\n');
  const blocks: Block[] = [];
  for (let i = 0; i < lines.length; i++) {
    const [, indent = '', language] = /^(\s*)```(.*)$/.exec(lines[i] ?? '') ?? [];
    if (language === undefined) continue;
    const end = lines.indexOf(`${indent}\`\`\``, i + 1);
    const place = `${path}:${i + 1}`;
    if (end < 0) throw new Error(`${place}: the block is not closed`);
    const body = lines.slice(i + 1, end).map((line) => line.slice(indent.length));
    blocks.push({ place, language: language.trim(), text: body.join('\n'), ...notesBefore(lines, i, place) });
    i = end;
  }
  return blocks;
}

function notesBefore(
  lines: readonly string[],
  fence: number,
  place: string,
): Pick<Block, 'notRun' | 'fails' | 'prints' | 'printsTrained'> {
  let notRun: string | undefined;
  let fails = false;
  const prints: string[] = [];
  const printsTrained: string[] = [];
  for (let i = fence - 1; i >= 0; i--) {
    const line = (lines[i] ?? '').trim();
    if (line === '') continue;
    const [, note] = /^<!-- (.*) -->$/.exec(line) ?? [];
    if (note === undefined) break;
    const [, key, value = ''] = /^(not run|fails|prints|prints when trained|after)(?:: (.+))?$/.exec(note) ?? [];
    if (key === 'not run' && value !== '') notRun = value;
    else if (key === 'fails') fails = true;
    else if (key === 'prints' && value !== '') prints.push(value);
    else if (key === 'prints when trained' && value !== '') printsTrained.push(value);
    else if (key !== 'after') throw new Error(`${place}: the comment "${note}" before it means nothing`);
  }
  return { notRun, fails, prints, printsTrained };
}

export function isRun({ language }: Block): boolean {
  return (RUN as readonly string[]).includes(language);
}

export function isShown({ language }: Block): boolean {
  return (SHOWN as readonly string[]).includes(language);
}

/** Addresses in a page's links and pictures, as they stand there. */
export function linksOf({ text }: Page): string[] {
  const prose = text.replaceAll(/^(\s*)```.*\n[\s\S]*?^\1```$/gm, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, address = '']) => address);
}

/** Whether a page stands with the tutorials: README.md, they themselves, and what goes on from one of them. */
export function isOfTutorials({ path, after }: Page): boolean {
  return path === 'README.md' || (after ?? path).startsWith('docs/tutorial/');
}
