import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import type { Page, Route } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeExplorer } from './support/explorer-in-chromium.js';

const OVERLOADED = {
  type: 'urn:elbo:problem:overloaded',
  title: 'Too many items are waiting',
  status: 503,
  detail: 'the queue is full',
  code: 'OVERLOADED',
};

const overloaded = (route: Route) =>
  route.fulfill({
    status: 503,
    headers: { 'retry-after': '1' },
    contentType: 'application/problem+json',
    body: JSON.stringify(OVERLOADED),
  });

const isDecoding = (url: URL) => url.pathname === '/decode';

async function decodeSomething(page: Page): Promise<void> {
  await page.locator('canvas[data-drawn]').waitFor();
  await page.getByRole('application').press('Enter');
}

describeExplorer('troubles are said in words', ({ open }) => {
  test('a service that has too much to do, which is asked again when it says', async () => {
    const { page } = await open('?model=pictured');
    await page.route(isDecoding, overloaded);
    await decodeSomething(page);
    const alert = page.getByRole('alert');
    await alert.waitFor();
    expect(await alert.textContent()).toMatch(
      /^Not decoded\. Too many items are waiting\. The queue is full\. This page asks again in 1 s\./,
    );
    await page.unroute(isDecoding);
    await page.locator('.pair canvas').first().waitFor();
    await expect.poll(() => alert.count()).toBe(0);
    await page.context().close();
  });

  test('a service that cannot be reached, until it is asked again', async () => {
    const { page } = await open('?model=pictured');
    await page.route(isDecoding, (route) => route.abort());
    await decodeSomething(page);
    await page.getByText('The service cannot be reached.').waitFor();
    await page.unroute(isDecoding);
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.locator('.pair canvas').first().waitFor();
    await expect.poll(() => page.getByRole('alert').count(), { timeout: 15_000 }).toBe(0);
    await page.context().close();
  });

  test('a file that is no image, and one that is none after all', async () => {
    const { page } = await open('?model=pictured&view=anomaly');
    const upload = page.getByLabel('An image of yours');
    await upload.setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
    await page.getByText('notes.txt is text/plain; expected a PNG, JPEG or WebP image.').waitFor();
    await upload.setInputFiles({ name: 'broken.png', mimeType: 'image/png', buffer: Buffer.from('hello') });
    await page.getByText('broken.png cannot be read as an image.').waitFor();
    await page.context().close();
  });

  test('a row whose cell is no number, with its name', async () => {
    const { page } = await open('?model=tabled&view=anomaly');
    const upload = page.getByLabel('Rows of yours');
    const csv = (text: string) => ({ name: 'rows.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });
    await upload.setInputFiles(csv('temperature,pressure,colour,flow\n1,2,red,warm\n'));
    await page.getByText('Row 1, flow: “warm” is not a number.').waitFor();
    await upload.setInputFiles(csv('flow,colour,temperature,pressure\n1,blue,3,5\n2,red,4,6\n'));
    await page.getByText('rows.csv, row 1').waitFor();
    await page.locator('[data-command*=\'"colour":"blue"\']').waitFor();
    await page.locator('.judgement-words').waitFor();
    await page.context().close();
  });
});

const { key, entry } = makeApiKey('somebody');
const known = parseApiKey(entry);

describeExplorer(
  'a service that takes a key',
  ({ open }) => {
    test('is asked with one that the page asks for, and not again in this tab', async () => {
      const { page } = await open('');
      const field = page.getByLabel('This service takes an API key');
      // No header can hold it: it would fail every call until the tab is closed.
      await field.fill('ключ');
      await page.getByRole('button', { name: 'Use this key' }).click();
      expect(await page.evaluate('document.querySelector(".key-prompt input").validity.patternMismatch')).toBe(true);
      expect(await page.evaluate('sessionStorage.length')).toBe(0);
      await field.fill('wrong');
      await page.getByRole('button', { name: 'Use this key' }).click();
      await page.getByText('The key is not known', { exact: false }).waitFor();
      await field.fill(key);
      await page.getByRole('button', { name: 'Use this key' }).click();
      await page.locator('canvas[data-drawn]').waitFor();
      expect(await field.count()).toBe(0);
      await page.reload();
      await page.locator('canvas[data-drawn]').waitFor();
      await page.getByRole('application').press('Enter');
      const command = page.locator('[data-command]');
      await command.waitFor();
      const text = await command.getAttribute('data-command');
      expect(text).toContain('-H "authorization: Bearer $ELBO_API_KEY"');
      expect(text).not.toContain(key);
      await page.getByRole('link', { name: 'Models' }).click();
      const models = page.locator('[data-command*="/models/"]');
      expect(await models.getAttribute('data-command')).toContain('-H "authorization: Bearer $ELBO_API_KEY"');
      await page.context().close();
    });
  },
  { app: { security: { apiKeys: known === undefined ? [] : [known] } } },
);
