import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { anchor } from '../../docs/dist/markdown.js';
import {
  blocksOf,
  isRun,
  isShown,
  linksOf,
  markdownFiles,
  readPage,
  repository,
  writtenPages,
} from './support/documents.js';

/** What a line of a block begins with that somebody would type. */
const COMMAND = /^\s*(?:\$ )?(?:npx|npm|node|curl|docker|kubectl|python3?|pip3?|elbo) /m;

const headingsOf = (text: string) => [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchor(heading));

describe('README.md and docs', () => {
  it.each(writtenPages())('$path has a language at each block, and no command in one that is not run', ({ blocks }) => {
    for (const block of blocks) {
      expect(isRun(block) || isShown(block), `${block.place}: ${block.language} is neither run nor shown`).toBe(true);
      if (isShown(block)) expect(COMMAND.test(block.text), `${block.place} shows a command`).toBe(false);
    }
  });

  it.each([...writtenPages(), ...markdownFiles(join(repository, 'docs', 'reference')).map(readPage)])(
    '$path leads to pages and headings that are there',
    (page) => {
      for (const link of linksOf(page).filter((address) => !/^[a-z]+:/.test(address))) {
        const [file = '', heading] = link.split('#');
        const target = file === '' ? join(repository, page.path) : join(repository, dirname(page.path), file);
        expect(existsSync(target), `${page.path}: ${link}`).toBe(true);
        if (heading !== undefined)
          expect(headingsOf(readFileSync(target, 'utf8')), `${page.path}: ${link}`).toContain(heading);
      }
    },
  );

  it('is reachable from docs/README.md, every page of it', () => {
    const linked = linksOf(readPage('docs/README.md')).map((link) => join('docs', link));
    const pages = markdownFiles(join(repository, 'docs')).filter((path) => path !== 'docs/README.md');
    expect(pages.filter((path) => !linked.includes(path))).toEqual([]);
  });
});

describe('blocks of a page', () => {
  it('have their notes, whatever stands between', () => {
    const page = ['<!-- not run: needs Docker -->', '', '```sh', 'docker ps', '```', 'Text.', '```json', '{}', '```'];
    expect(blocksOf('a.md', page.join('\n'))).toEqual([
      {
        place: 'a.md:3',
        language: 'sh',
        text: 'docker ps',
        notRun: 'needs Docker',
        fails: false,
        prints: [],
        printsTrained: [],
      },
      { place: 'a.md:7', language: 'json', text: '{}', notRun: undefined, fails: false, prints: [], printsTrained: [] },
    ]);
  });

  it.each([
    ['<!-- not run -->\n```sh\nls\n```', 'means nothing'],
    ['<!-- skip -->\n```sh\nls\n```', 'means nothing'],
    ['```sh\nls', 'not closed'],
  ])('are refused: %j', (text, message) => {
    expect(() => blocksOf('a.md', text)).toThrow(message);
  });
});
