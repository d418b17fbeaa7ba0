import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { describeExplorer } from './support/explorer-in-chromium.js';

const query = (page: Page) => new URL(page.url()).searchParams;

describeExplorer('the address of the explorer', ({ open }) => {
  test('follows the views, and the back button follows it', async () => {
    const { page } = await open('?model=pictured');
    await page.getByRole('heading', { name: 'Latent map' }).waitFor();
    await page.getByRole('link', { name: 'Samples' }).click();
    await page.getByRole('heading', { name: 'Samples' }).waitFor();
    expect([query(page).get('view'), query(page).get('model')]).toEqual(['samples', 'pictured']);
    await page.getByRole('button', { name: 'Another' }).click();
    const seed = query(page).get('seed');
    expect(await page.getByLabel('Seed').inputValue()).toBe(seed);
    await page.goBack();
    await expect.poll(() => page.getByLabel('Seed').inputValue()).toBe('1');
    await page.goBack();
    await page.getByRole('heading', { name: 'Latent map' }).waitFor();
    expect(query(page).get('view')).toBeNull();
    await page.goForward();
    await page.getByRole('heading', { name: 'Samples' }).waitFor();
    await page.context().close();
  });

  test('brings back a decoded place, a projection and hidden classes', async () => {
    const { page } = await open('?model=pictured&projection=components&at=0.5,-0.25&hidden=1');
    await page.locator('.pair').waitFor();
    expect(await page.getByRole('radio', { name: 'Components' }).isChecked()).toBe(true);
    const right = page.getByRole('button', { name: 'right' });
    expect(await right.getAttribute('aria-pressed')).toBe('false');
    const command = await page.locator('[data-command]').getAttribute('data-command');
    expect(command).toContain('{"latents":[[0.5,-0.25,0,0]]}');
    await page.context().close();
  });

  test('brings back sliders', async () => {
    const { page } = await open('?model=pictured&view=traversal&z=1:0.5,3:-1');
    const values = page.locator('.dimension output');
    await values.first().waitFor();
    // By their KL: dimensions 1, 3, 0; that of 2 tells nothing.
    expect(await values.allTextContents()).toEqual(['0.5', '−1', '0']);
    await page.locator('.dimension input').nth(2).press('End');
    await expect.poll(() => query(page).get('z')).toMatch(/^1:0\.5,3:-1,0:3$/);
    await page.context().close();
  });

  test('names a version, and one that is not there in the words of the service', async () => {
    const { page } = await open('?model=pictured&version=9');
    await page.getByRole('alert').getByText('pictured', { exact: false }).waitFor();
    expect(await page.getByRole('alert').textContent()).toMatch(/no such model or version/i);
    await page.getByLabel('Model').selectOption('coloured');
    await page.locator('canvas[data-drawn]').waitFor();
    expect(query(page).get('version')).toBeNull();
    await page.context().close();
  });

  test('keeps nonsense out', async () => {
    const { page, complaints } = await open(
      '?model=pictured&view=nowhere&at=x,y&look=-1,2&hidden=a&projection=three&x=99&frame=-3',
    );
    await page.locator('canvas[data-drawn]').waitFor();
    await page.getByText('Nothing is decoded yet').waitFor();
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});
