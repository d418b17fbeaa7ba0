import { afterAll, describe, it } from 'vitest';
import { isRun, type Page } from './documents.js';
import { missingModules } from './python-modules.js';
import { PageRunner, reasonNotRun } from './running-page.js';

/** A test for each page, which runs its blocks in their order; blocks that are not run are listed with the reason. */
export function testPages(pages: readonly Page[]): void {
  const runner = new PageRunner(missingModules);
  afterAll(() => runner.remove());
  describe.each(pages.filter(({ blocks }) => blocks.some(isRun)))('$path', (page) => {
    it('does what it says', { timeout: 600_000 }, async () => {
      await runner.run(page);
    });
    for (const block of page.blocks.filter(isRun)) {
      const reason = reasonNotRun(block, missingModules);
      // A list of what is not run, and why: the page says so itself, or this machine lacks what it needs.
      if (reason !== undefined) it.skip(`${block.place} is not run: ${reason}`);
    }
  });
}
