import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { plainPng } from '../server/support/pictures.js';
import { describeExplorer } from './support/explorer-in-chromium.js';

const command = (page: Page) => page.locator('[data-command]').getAttribute('data-command');
const csv = (text: string) => ({ name: 'rows.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });

describeExplorer('hostile input', ({ open }) => {
  test.each([
    [
      '?model=pictured&view=samples&count=1.5&seed=1.5&temperature=abc',
      '[data-command*="count=36&seed=1&temperature=1"]',
    ],
    ['?model=pictured&view=samples&seed=1e99&label=', '[data-command*="seed=1&"]'],
    ['?model=pictured&view=morph&steps=2.5&frame=0.5&from=item:1e99&to=sample:1:0.5', '[data-command*=\'"steps":17\']'],
    ['?model=pictured&view=traversal&start=sample:1:5000:1&z=0:1e99,999:1', '[data-command*="[[0,0,0,0]]"]'],
    ['?model=coloured&view=traversal&start=item:3', '[data-command*="[[0,0,0,0]]"]'],
    ['?model=coloured&view=anomaly&input=item:3', '.judgement-words'],
    ['?model=pictured&view=anomaly&input=item:1e99', '.judgement-words'],
    ['?model=pictured&at=1e308,1e308&look=64,1e300,1&x=0.5&projection=dimensions', 'canvas[data-drawn]'],
    ['?model=tabled&view=anomaly&input=row:1e99,2,0,3', '.judgement, .trouble'],
  ])('in the address changes nothing: %s', async (query, expected) => {
    const { page, complaints } = await open(query);
    await page.locator(expected).first().waitFor();
    // What a table's row lacks is said in the service's words, which the browser logs as well.
    expect(complaints.filter((text) => !text.includes('422'))).toEqual([]);
    await page.context().close();
  });

  test('a second file of the same name and length takes the place of the first', async () => {
    const { page } = await open('?model=tabled&view=morph');
    const upload = page.getByLabel('Or a row of yours').first();
    await upload.setInputFiles(csv('1,2,red,3\n'));
    await page.getByText('From: rows.csv, row 1').waitFor();
    await page.waitForLoadState('networkidle');
    const first = await command(page);
    await upload.setInputFiles(csv('9,2,red,3\n'));
    await expect.poll(() => command(page)).not.toBe(first);
    await page.context().close();
  });

  test('rows beyond what a page can show, and numbers beyond float32, are refused in words', async () => {
    const { page } = await open('?model=tabled&view=anomaly');
    await page.locator('.judgement-words').waitFor();
    const upload = page.getByLabel('Rows of yours');
    await upload.setInputFiles(csv('1,2,red,3\n'.repeat(20_001)));
    await page.getByText('There are 20001 rows; expected 20000 at most.', { exact: false }).waitFor();
    await upload.setInputFiles(csv('1,2,red,1e39\n'));
    await page.getByText('Row 1, flow: “1e39” is not a number.').waitFor();
    await page.context().close();
  });

  test('an image that the service refuses is not shown with the score of the one before', async () => {
    const { page } = await open('?model=pictured&view=anomaly');
    await page.locator('.judgement-words').waitFor();
    await page.route(
      (url) => url.pathname === '/anomaly-score',
      (route) =>
        route.fulfill({ status: 413, json: { title: 'The body is larger than the limit', detail: 'too large' } }),
    );
    await page
      .getByLabel('An image of yours')
      .setInputFiles({ name: 'large.png', mimeType: 'image/png', buffer: await plainPng(9, 9) });
    await page.getByText('The body is larger than the limit.').waitFor();
    expect(await page.locator('.judgement-words').count()).toBe(0);
    expect(await page.locator('[data-command]').count()).toBe(0);
    await page.context().close();
  });

  test('pictures far below are asked for when somebody gets there', async () => {
    const { page } = await open('?model=pictured&view=models', { viewport: { width: 390, height: 300 } });
    const asked: string[] = [];
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    await page.locator('.preview').first().waitFor();
    await page.waitForLoadState('networkidle');
    const curves = '/models/pictured/files/training-curves.svg';
    expect(asked).not.toContain(curves);
    await page.locator('.curves').scrollIntoViewIfNeeded();
    await page.locator('img.curves').waitFor();
    expect(asked).toContain(curves);
    await page.context().close();
  });

  test('an image is scored by one request, error map and all', async () => {
    const { page } = await open('?model=pictured&view=samples');
    const asked: string[] = [];
    page.on('request', (request) => {
      if (request.url().includes('/anomaly-score')) asked.push(request.url());
    });
    await page.getByRole('link', { name: 'Anomaly' }).click();
    await page.locator('.judgement-words').waitFor();
    await page.waitForLoadState('networkidle');
    expect(asked).toHaveLength(1);
    expect(await command(page)).not.toContain('error_map');
    await page.context().close();
  });
});
