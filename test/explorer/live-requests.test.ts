import { expect, test } from 'vitest';
import { describeExplorer } from './support/explorer-in-chromium.js';

describeExplorer('requests of the explorer', ({ open }) => {
  test('a slider has one on its way, whatever it does meanwhile, and ends at its last place', async () => {
    const { page } = await open('?model=pictured&view=traversal');
    await page.locator('.dimension').first().waitFor();
    await page.waitForLoadState('networkidle');
    const waiting: (() => void)[] = [];
    const asked: number[][] = [];
    await page.route(
      ({ pathname }) => pathname === '/decode',
      async (route) => {
        const { latents } = route.request().postDataJSON() as { latents: number[][] };
        if (latents.length > 1) return route.continue();
        asked.push(latents[0] ?? []);
        await new Promise<void>((resolve) => {
          waiting.push(resolve);
        });
        await route.continue();
      },
    );
    const slider = page.locator('.dimension input').first();
    for (let i = 0; i < 20; i++) await slider.press('ArrowRight');
    await expect.poll(() => asked.length).toBe(1);
    await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))');
    expect(asked).toHaveLength(1);
    waiting.shift()?.();
    await expect.poll(() => asked.length).toBe(2);
    waiting.shift()?.();
    await expect.poll(() => page.locator('[data-command]').getAttribute('data-command')).toContain('0.2');
    const value = Number(await page.locator('.dimension output').first().textContent());
    // Dimension 1 tells most, and so comes first.
    expect(asked.map((latent) => latent[1])).toEqual([expect.any(Number), value]);
    await page.context().close();
  });

  test('what is no longer wanted is cancelled', async () => {
    const { page } = await open('?model=pictured&view=models');
    await page.locator('.kl-list li').first().waitFor();
    const cancelled: string[] = [];
    page.on('requestfailed', (request) => cancelled.push(new URL(request.url()).pathname));
    await page.route(
      ({ pathname }) => pathname === '/models/coloured',
      () => {},
    );
    await page.getByLabel('Model').selectOption('coloured');
    await page.getByText('Asking for the model').waitFor();
    await page.getByLabel('Model').selectOption('tabled');
    await page.locator('.kl-list li').first().waitFor();
    expect(cancelled).toEqual(['/models/coloured']);
    expect(await page.locator('.trouble').count()).toBe(0);
    await page.context().close();
  });
});
