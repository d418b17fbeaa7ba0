import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { greyPng, plainPng } from '../server/support/pictures.js';
import { describeExplorer } from './support/explorer-in-chromium.js';

/** An event with files or text, as the browser makes it when somebody pastes or drops. */
const pasted = (text: string) => `{
  const clipboardData = new DataTransfer();
  clipboardData.setData('text/plain', ${JSON.stringify(text)});
  document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }));
}`;
const dropped = (base64: string) => `{
  const bytes = Uint8Array.from(atob('${base64}'), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));
  document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true }));
}`;

describeExplorer('files of the user', ({ open }) => {
  test('an image that is dropped is scored, with where it is unusual', async () => {
    const { page } = await open('?model=pictured&view=anomaly');
    await page.locator('.judgement-words').waitFor();
    const png = await greyPng(new Uint8Array(64).fill(200), 8, 8);
    await page.evaluate(dropped(png.toString('base64')));
    await page.getByText('dropped.png', { exact: true }).waitFor();
    await page.waitForLoadState('networkidle');
    const corner = () =>
      page.evaluate<number[]>(
        "[...document.querySelector('.judgement canvas').getContext('2d').getImageData(0, 0, 1, 1).data]",
      );
    const heated = await corner();
    await page.getByLabel('Show where it is unusual').uncheck();
    await expect.poll(corner).toEqual([200, 200, 200, 255]);
    expect(heated).not.toEqual([200, 200, 200, 255]);
    await page.context().close();
  });

  test('rows that are pasted are scored, one after the other', async () => {
    const { page } = await open('?model=tabled&view=anomaly');
    await page.locator('.judgement-words').waitFor();
    await page.evaluate(pasted('temperature,pressure,colour,flow\n1,2,red,3\n4,5,blue,6\n'));
    const value = page.locator('.judgement .row-table td.number').first();
    await page.getByText('pasted.csv, row 1').waitFor();
    expect(await value.textContent()).toBe('1');
    await page.getByLabel('Row', { exact: true }).fill('2');
    await page.keyboard.press('Enter');
    await expect.poll(() => value.textContent()).toBe('4');
    await page.context().close();
  });

  test('a value of a row can be changed', async () => {
    const { page } = await open('?model=tabled&view=anomaly&input=row:1,2,0,3');
    await page.getByText('Change values').click();
    await page.getByLabel('colour').selectOption({ label: 'blue' });
    await expect.poll(() => new URL(page.url()).searchParams.get('input')).toBe('row:1,2,2,3');
    await page.locator('[data-command*=\'"colour":"blue"\']').waitFor();
    await page.context().close();
  });

  test('an image is an end of a morph, whatever its size and colours', async () => {
    const { page } = await open('?model=pictured&view=morph');
    await page.locator('.film canvas').first().waitFor();
    const before = await page.locator('[data-command]').getAttribute('data-command');
    await page
      .getByLabel('Or an image of yours')
      .first()
      .setInputFiles({ name: 'red.png', mimeType: 'image/png', buffer: await plainPng(40, 30) });
    await page.getByText('From: red.png').waitFor();
    await expect.poll(() => page.locator('[data-command]').getAttribute('data-command')).not.toBe(before);
    await page.getByRole('button', { name: 'Take it away' }).click();
    await expect.poll(() => page.locator('[data-command]').getAttribute('data-command')).toBe(before);
    await page.context().close();
  });

  test.each([
    ['PNG', 'png', Buffer.from('\x89PNG', 'latin1')],
    ['NPY', 'npy', Buffer.from('\x93NUMPY', 'latin1')],
  ])('samples are saved as %s', async (name, extension, magic) => {
    const { page } = await open('?model=pictured&view=samples&seed=3');
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()]);
    expect(download.suggestedFilename()).toBe(`pictured-1-seed-3.${extension}`);
    const content = await readFile((await download.path()) ?? '');
    expect(content.subarray(0, magic.length)).toEqual(magic);
    await page.context().close();
  });
});
