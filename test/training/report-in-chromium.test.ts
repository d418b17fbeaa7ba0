import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadPreset, writeReport } from '@elbo/training';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chromiumNote, launchChromium, noChromium } from '../support/chromium.js';
import { suiteDirectory } from '../support/temporary-directory.js';
import { engine, greyModel, trained } from './support/report-models.js';

describe.skipIf(noChromium)(`a report in Chromium${chromiumNote}`, () => {
  const newDirectory = suiteDirectory();
  let browser: Browser;
  let url: string;

  beforeAll(async () => {
    const { directory, dataset } = await greyModel(newDirectory());
    const { file } = await writeReport({ directory, dataset, file: join(newDirectory(), 'page.html'), engine });
    url = pathToFileURL(file).href;
    browser = await launchChromium();
  });
  afterAll(() => browser?.close());

  /** Opens the page and gathers whatever it complains of or asks for. */
  async function open(options: BrowserContextOptions): Promise<{ page: Page; complaints: string[] }> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => {
      if (request.url() !== url && !request.url().startsWith('data:')) complaints.push(`request: ${request.url()}`);
    });
    await page.goto(url);
    return { page, complaints };
  }

  test.each([
    ['a wide light one', { viewport: { width: 1280, height: 900 }, colorScheme: 'light' }],
    ['a narrow dark one', { viewport: { width: 390, height: 844 }, colorScheme: 'dark' }],
    ['one without scripts', { viewport: { width: 800, height: 600 }, javaScriptEnabled: false }],
  ] as const)(
    'opens in %s without an error, a request or sideways scrolling, and shows every image',
    async (_, options) => {
      const { page, complaints } = await open(options);
      expect(complaints).toEqual([]);
      const sideways = await page.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth',
      );
      expect(sideways).toBe(0);
      const broken = await page.evaluate('[...document.images].filter((image) => image.naturalWidth === 0).length');
      expect(broken).toBe(0);
      await page.context().close();
    },
  );

  test('shows the one curve of an autoencoder as large as each of several', async () => {
    const { dataset } = await greyModel(newDirectory());
    const { directory } = await trained(
      newDirectory(),
      {
        ...loadPreset('shapes-mlp'),
        family: 'autoencoder',
        prior: 'gaussian-mixture',
        prior_components: 2,
        kl_warm_up_fraction: 0,
        epochs: 1,
      },
      dataset,
    );
    const { file } = await writeReport({ directory, file: join(newDirectory(), 'page.html'), engine });
    const heights: number[] = [];
    for (const address of [url, pathToFileURL(file).href]) {
      const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
      await page.goto(address);
      heights.push((await page.locator('.curves').boundingBox())?.height ?? 0);
      await page.close();
    }
    expect(heights[1]).toBeLessThan(1.2 * heights[0]);
  });

  test('shows an example of the map to the pointer and to the arrow keys', async () => {
    const { page, complaints } = await open({ viewport: { width: 1280, height: 900 } });
    const [card, dot] = [page.locator('.card'), page.locator('.plane .chosen')];
    await expect.poll(() => card.isVisible()).toBe(false);
    const places: number[] = JSON.parse((await page.locator('#map-data').textContent()) ?? '').places;
    const svg = page.locator('.plane svg');
    await svg.scrollIntoViewIfNeeded();
    const box = await svg.boundingBox();
    if (box === null) throw new Error('the map is not there');
    await page.mouse.move(box.x + (box.width * places[0]) / 1000, box.y + (box.width * places[1]) / 1000);
    await expect.poll(() => card.isVisible()).toBe(true);
    expect(await card.textContent()).toMatch(/^Test example \d+ · class \d · p/);
    await page.locator('.plane').focus();
    await page.keyboard.press('Escape');
    await expect.poll(() => card.isVisible()).toBe(false);
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => card.isVisible()).toBe(true);
    const before = Number(await dot.getAttribute('cx'));
    await page.keyboard.press('ArrowRight');
    expect(Number(await dot.getAttribute('cx'))).toBeGreaterThan(before);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('changes what points are coloured by, and picks a class out', async () => {
    const { page, complaints } = await open({ viewport: { width: 1280, height: 900 } });
    const panel = (number: number) => page.locator(`.plane g[data-panel="${number}"]`);
    expect([await panel(0).isVisible(), await panel(1).isVisible()]).toEqual([true, false]);
    await page.locator('.legend[data-panel="0"] button').first().click();
    expect(await panel(0).locator('.faded').count()).toBe(3);
    await page.getByRole('radio', { name: 'p-value of the anomaly score' }).check();
    expect([await panel(0).isVisible(), await panel(1).isVisible()]).toEqual([false, true]);
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});
