import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { greyPng } from '../server/support/pictures.js';
import { describeExplorer } from './support/explorer-in-chromium.js';

const run = promisify(execFile);
const hasCurl = await run('curl', ['--version']).then(
  () => true,
  () => false,
);

/** The grey levels that a canvas shows. */
function levelsOf(page: Page, selector: string): Promise<number[]> {
  return page.evaluate(`(() => {
    const canvas = document.querySelector(${JSON.stringify(selector)});
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
  })()`);
}

describeExplorer('the command under a view', ({ open }) => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'elbo-commands-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function commandOf(page: Page): Promise<string> {
    const command = page.locator('[data-command]');
    await command.waitFor();
    await page.waitForLoadState('networkidle');
    return (await command.getAttribute('data-command')) ?? '';
  }

  const shell = async (command: string) => (await run('sh', ['-c', `${command} -sS`], { cwd: directory })).stdout;

  test.skipIf(!hasCurl)(`gives the decoded picture${hasCurl ? '' : ' (skipped: no curl)'}`, async () => {
    const { page } = await open('?model=pictured&at=0.3,0.6');
    await page.locator('.pair canvas').first().waitFor();
    await shell(await commandOf(page));
    const { data } = await sharp(await readFile(join(directory, 'decoded.png')))
      .toColourspace('b-w')
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(await levelsOf(page, '.pair canvas')).toEqual([...data]);
    await page.context().close();
  });

  test.skipIf(!hasCurl)('gives the samples, and the path between two', async () => {
    const { page } = await open('?model=pictured&view=samples&count=16&seed=5');
    await page.locator('.picture-grid canvas').nth(15).waitFor();
    await shell(await commandOf(page));
    const first = await sharp(await readFile(join(directory, 'samples-5.png')))
      .extract({ left: 0, top: 0, width: 8, height: 8 })
      .toColourspace('b-w')
      .raw()
      .toBuffer();
    expect(await levelsOf(page, '.picture-grid canvas')).toEqual([...first]);
    await page.getByRole('link', { name: 'Morph' }).click();
    await page.locator('.film canvas').first().waitFor();
    await shell(await commandOf(page));
    const between = await sharp(await readFile(join(directory, 'between.png')))
      .extract({ left: 0, top: 0, width: 8, height: 8 })
      .toColourspace('b-w')
      .raw()
      .toBuffer();
    expect(await levelsOf(page, '.film canvas')).toEqual([...between]);
    await page.context().close();
  });

  test.skipIf(!hasCurl)('gives the score of a file, and of a row with a rate of its own', async () => {
    const { page } = await open('?model=pictured&view=anomaly');
    const png = await greyPng(
      Uint8Array.from({ length: 64 }, (_, i) => 4 * i),
      8,
      8,
    );
    await writeFile(join(directory, "it's.png"), png);
    await page.getByLabel('An image of yours').setInputFiles(join(directory, "it's.png"));
    await page.getByText("it's.png").waitFor();
    const answer = JSON.parse(await shell(await commandOf(page)));
    const shown = await page.locator('.judgement-words dd').allTextContents();
    expect(Number(shown[0])).toBeCloseTo(answer.scores[0].score, 2);

    await page.goto(`${new URL(page.url()).origin}/?model=tabled&view=anomaly&input=row:1,5,2,3&fpr=0.2`);
    await page.locator('.contributions').waitFor();
    const command = await commandOf(page);
    expect(command).toContain('{"rows":[{"temperature":1,"pressure":5,"colour":"blue","flow":3}]}');
    const scored = JSON.parse(await shell(command));
    expect(scored.false_positive_rate).toBe(0.2);
    expect(await page.locator('.contributions tbody th').allTextContents()).toEqual(
      scored.scores[0].contributions.map(({ column }: { column: string }) => column),
    );
    const isAnomalous = (await page.locator('.word').textContent()) === 'Anomalous';
    expect(isAnomalous).toBe(scored.scores[0].is_anomaly);
    await page.context().close();
  });
});
