import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeExplorer, type ExplorerContext } from './support/explorer-in-chromium.js';
import { STORE_MODELS } from './support/explorer-store.js';

const SHIPPED = fileURLToPath(new URL('../../models', import.meta.url));

/** What a view shows once it has all its answers. */
const VIEWS: Readonly<Record<string, (page: Page, isTable: boolean) => Promise<void>>> = {
  map: async (page) => {
    await page.locator('.stage canvas[data-drawn]').first().waitFor();
    const box = await page.locator('.stage').boundingBox();
    if (box === null) throw new Error('the map is not there');
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    await page.locator('.panel .item canvas, .panel .row-table').first().waitFor();
    await page.locator('.command').waitFor();
  },
  traversal: async (page, isTable) => {
    await page.locator('.dimension').first().waitFor();
    await page
      .locator(isTable ? '.effects' : '.strip canvas')
      .first()
      .waitFor();
    await page.locator('.dimension input').first().press('ArrowRight');
    await page.locator('.dimension.changed').waitFor();
  },
  samples: async (page, isTable) => {
    await page
      .locator(isTable ? '.wide-table tbody tr' : '.picture-grid canvas')
      .nth(35)
      .waitFor();
  },
  morph: async (page, isTable) => {
    await page
      .locator(isTable ? '.morph .row-table' : '.film canvas')
      .first()
      .waitFor();
    await page.getByRole('slider', { name: 'Step', exact: true }).press('End');
    await page.getByText('Step 17 of 17').waitFor();
  },
  anomaly: async (page, isTable) => {
    await page.locator('.judgement-words').waitFor();
    await page.locator('.histogram svg').waitFor();
    await page
      .locator(isTable ? '.contributions tbody tr' : '.judgement .item canvas')
      .first()
      .waitFor();
    await page.getByRole('radio', { name: 'Noise' }).check();
    await page.getByText('Noise of seed 1', { exact: true }).first().waitFor();
  },
  models: async (page) => {
    await page.locator('.card').first().waitFor();
    await page.getByRole('rowheader', { name: 'encoder.onnx' }).waitFor();
    await page.locator('.kl-list li').first().waitFor();
  },
};

function showsEveryView({ open }: ExplorerContext, model: string): void {
  test.each(Object.keys(VIEWS))(`${model} in %s, without an error`, async (view) => {
    const { page, complaints } = await open(`?model=${model}&view=${view}`);
    await VIEWS[view]?.(page, model === 'tabled');
    await page.waitForLoadState('networkidle');
    expect(await page.locator('.trouble').count()).toBe(0);
    expect(complaints).toEqual([]);
    await page.context().close();
  });
}

describeExplorer('the explorer shows', (context) => {
  for (const model of STORE_MODELS) showsEveryView(context, model);
});

describeExplorer(
  'the explorer shows the shipped model',
  (context) => {
    for (const model of ['mnist', 'fashion-mnist', 'mnist-conditional', 'mnist-sparse', 'shapes']) {
      showsEveryView(context, model);
    }

    test.each(['mnist', 'shapes'])('%s, to which noise is anomalous and its own samples are not', async (model) => {
      const { page } = await context.open(`?model=${model}&view=anomaly&input=noise:1`);
      const word = page.locator('.word');
      await word.waitFor();
      expect(await word.textContent()).toBe('Anomalous');
      await page.getByRole('radio', { name: 'Sample' }).check();
      await expect.poll(() => word.textContent()).toBe('Normal');
      await page.context().close();
    });
  },
  { models: SHIPPED },
);
