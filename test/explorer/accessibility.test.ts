import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { describeExplorer } from './support/explorer-in-chromium.js';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

interface Violation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

const PLACES = [
  ['map', '?model=pictured&at=0.5,0.5'],
  ['map without reference items', '?model=coloured'],
  ['traversal', '?model=pictured&view=traversal'],
  ['traversal of a table', '?model=tabled&view=traversal'],
  ['samples', '?model=pictured&view=samples'],
  ['samples of a table', '?model=tabled&view=samples'],
  ['morph', '?model=pictured&view=morph'],
  ['anomaly', '?model=pictured&view=anomaly&input=noise:1'],
  ['anomaly of a table', '?model=tabled&view=anomaly'],
  ['models', '?model=pictured&view=models'],
  ['trouble', '?model=absent'],
] as const;

const LOOKS = [
  ['wide and light', { viewport: { width: 1440, height: 900 }, colorScheme: 'light' }],
  ['narrow and dark', { viewport: { width: 390, height: 844 }, colorScheme: 'dark' }],
] as const;

describeExplorer('the explorer for everybody', ({ open }) => {
  for (const [look, options] of LOOKS) {
    test.each(PLACES)(`%s, ${look}: axe finds nothing serious, and nothing scrolls sideways`, async (_, query) => {
      const { page } = await open(query, options);
      await page.waitForLoadState('networkidle');
      await page.locator('.command, .trouble, .stage').first().waitFor();
      await page.evaluate(await readFile(axe, 'utf8'));
      const violations: Violation[] = await page.evaluate('axe.run(document).then(({ violations }) => violations)');
      const serious = violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .flatMap(({ id, nodes }) =>
          nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} ${failureSummary}`),
        );
      expect(serious).toEqual([]);
      const sideways = await page.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth',
      );
      expect(sideways).toBe(0);
      await page.context().close();
    });
  }

  test('what is chosen shows where the system has colours of its own', async () => {
    const { page } = await open('?model=pictured', { forcedColors: 'active' });
    await page.locator('.swatch').first().waitFor();
    const background = (selector: string) =>
      page.evaluate<string>(`getComputedStyle(document.querySelector('${selector}')).backgroundColor`);
    expect(await background('.choice input:checked + span')).not.toBe(
      await background('.choice input:not(:checked) + span'),
    );
    const swatches: string[] = await page.evaluate(
      '[...document.querySelectorAll(".swatch")].map((swatch) => getComputedStyle(swatch).backgroundColor)',
    );
    expect(new Set(swatches).size).toBe(2);
    await page.context().close();
  });
});
