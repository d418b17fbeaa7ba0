import { expect, test } from 'vitest';
import { describeExplorer } from './support/explorer-in-chromium.js';

describeExplorer('the explorer by keyboard', ({ open }) => {
  test('moves a cursor on the map, decodes under it, zooms and lets go', async () => {
    const { page } = await open('?model=pictured');
    await page.locator('canvas[data-drawn]').waitFor();
    const stage = page.getByRole('application');
    await stage.focus();
    await page.keyboard.press('ArrowRight');
    await page.locator('.cursor').waitFor();
    await expect.poll(() => stage.locator('[aria-live]').textContent()).toMatch(/^Nearest: (?:left|right) · item \d+$/);
    await page.keyboard.press('Enter');
    await page.locator('.pair').waitFor();
    await page.locator('.pin').waitFor();
    await page.keyboard.press('+');
    await expect.poll(() => new URL(page.url()).searchParams.get('look')).toMatch(/^1\.5,/);
    await page.keyboard.press('0');
    await expect.poll(() => new URL(page.url()).searchParams.get('look')).toBeNull();
    await page.keyboard.press('Escape');
    await page.getByText('Nothing is decoded yet').waitFor();
    await page.context().close();
  });

  test('goes through samples by arrows, with one stop for the tab key, and opens one', async () => {
    const { page } = await open('?model=pictured&view=samples');
    const cells = page.locator('.picture-grid button');
    await cells.nth(35).waitFor();
    expect(await page.locator('.picture-grid button[tabindex="0"]').count()).toBe(1);
    await cells.first().focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    expect(await page.evaluate('document.activeElement.getAttribute("aria-label")')).toBe('Sample 2');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Traversal' }).waitFor();
    expect(new URL(page.url()).searchParams.get('start')).toBe('sample:1:2:1');
    await page.locator('.dimension').first().waitFor();
    const focused = () => page.evaluate('document.activeElement.textContent');
    expect(await focused()).toBe('Traversal');
    await page.locator('.dimension input').first().focus();
    await page.keyboard.press('ArrowRight');
    await page.getByRole('button', { name: 'Reset sliders' }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => new URL(page.url()).searchParams.get('z')).toBeNull();
    expect(await focused()).toBe('Reset sliders');
    await page.context().close();
  });

  test('shows all classes again, and goes on at the first', async () => {
    const { page } = await open('?model=pictured');
    await page.locator('.legend button').nth(1).click();
    await page.getByRole('button', { name: 'Show all', exact: true }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('.legend [aria-pressed="true"]').count()).toBe(2);
    expect(await page.evaluate('document.activeElement.textContent')).toContain('left');
    await page.context().close();
  });

  test('skips to the content, and reaches every view', async () => {
    const { page } = await open('?model=pictured');
    await page.locator('canvas[data-drawn]').waitFor();
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.className')).toBe('skip');
    const reached = new Set<string>();
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press('Tab');
      reached.add(String(await page.evaluate('document.activeElement.textContent')).trim());
    }
    for (const view of ['Latent map', 'Traversal', 'Samples', 'Morph', 'Anomaly', 'Models'])
      expect(reached).toContain(view);
    await page.context().close();
  });
});
