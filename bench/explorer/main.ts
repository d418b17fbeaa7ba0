import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  encodeUint16,
  type Manifest,
  type ManifestDraft,
  parseManifest,
  RandomSource,
  type Reference,
  writeModel,
} from '@elbo/models';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { max, median, min } from 'simple-statistics';
import { launchChromium, startService } from './explored-service.js';

// How soon the explorer can be used, and how smoothly its map moves with 10,000 points.

const MODELS = fileURLToPath(new URL('../../../models', import.meta.url));
const RESULTS = fileURLToPath(new URL('../../../bench/explorer/RESULTS.md', import.meta.url));
const POINTS = 10_000;
const CLASSES = 10;
/** Of each movement. */
const MEASURED_MS = 2500;

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '9' }, write: { type: 'boolean', default: false } },
});
const runs = Number(values.runs);
const loadBefore = loadavg()[0] ?? 0;

const browser = await launchChromium();
const shipped = await startService(MODELS);
const first = await firstViews(browser, shipped.origin);
shipped.stop();
const store = await largeStore();
const large = await startService(store);
const frames = await movingFrames(browser, large.origin);
large.stop();
await browser.close();
await rm(store, { recursive: true });

const spread = (numbers: readonly number[], digits = 0) =>
  `**${median([...numbers]).toFixed(digits)}** (${min([...numbers]).toFixed(digits)}–${max([...numbers]).toFixed(digits)})`;
const text = `# The explorer in Chromium

Written by \`npm run bench:explorer -- --write\`. Median (least–largest).

| | |
|---|---|
| first view usable: from navigation to all points of \`mnist\` drawn, empty cache, ${runs} runs | ${spread(first.drawn)} ms |
| of that, until the page's script runs | ${spread(first.scripted)} ms |
| bytes over the wire until then, pictures of items included | ${spread(first.bytes.map((bytes) => bytes / 1000))} kB |
${frames.map(({ what, painted, script }) => `| ${what}, ${POINTS.toLocaleString('en')} points, 1440 x 900 | ${spread(painted)} frames a second; ${spread(script, 1)} ms a frame in the page's script |`).join('\n')}

${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores of ${cpus()[0]?.model}, load average before the run ${loadBefore.toFixed(1)};
Chromium ${browser.version()}, headless, without a GPU: it composes and draws in software, on the same cores as the service. A frame is
counted where the map was drawn anew in it.
`;
console.log(text);
if (values.write) await writeFile(RESULTS, text);

interface FirstViews {
  readonly drawn: number[];
  readonly scripted: number[];
  readonly bytes: number[];
}

async function firstViews(browser: Browser, origin: string): Promise<FirstViews> {
  const views: FirstViews = { drawn: [], scripted: [], bytes: [] };
  for (let run = 0; run < runs; run++) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    let bytes = 0;
    page.on('requestfinished', (request) => {
      void request.sizes().then(({ responseBodySize }) => {
        bytes += responseBodySize;
      });
    });
    await page.addInitScript(`window.drawn = new Promise((done) => {
      const found = () => document.querySelector('canvas[data-drawn]');
      const look = () => found() ? done(performance.now()) : requestAnimationFrame(look);
      requestAnimationFrame(look);
    });`);
    await page.goto(`${origin}/?model=mnist`);
    views.drawn.push(await page.evaluate('window.drawn'));
    views.scripted.push(
      await page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventStart"),
    );
    await page.waitForLoadState('networkidle');
    views.bytes.push(bytes);
    await context.close();
  }
  return views;
}

interface Frames {
  readonly what: string;
  readonly painted: number[];
  readonly script: number[];
}

/** Moves the map by the mouse and the wheel, and counts how often it was drawn. */
async function movingFrames(browser: Browser, origin: string): Promise<Frames[]> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${origin}/?model=large`);
  await page.locator('canvas[data-drawn]').waitFor();
  await page.waitForLoadState('networkidle');
  const box = await page.locator('.stage').boundingBox();
  if (box === null) throw new Error('the map is not there');
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const place = (step: number): [number, number] => [x + 160 * Math.sin(step / 9), y + 120 * Math.sin(step / 7)];
  const panning: Frames = { what: 'panning', painted: [], script: [] };
  const zooming: Frames = { what: 'zooming', painted: [], script: [] };
  for (let run = 0; run < runs; run++) {
    await page.mouse.move(...place(0));
    await page.mouse.down();
    await measured(page, panning, (step) => page.mouse.move(...place(step)));
    await page.mouse.up();
    await measured(page, zooming, (step) => page.mouse.wheel(0, step % 40 < 20 ? -40 : 40));
    await page.getByRole('button', { name: 'Show all points' }).click();
  }
  await context.close();
  return [panning, zooming];
}

async function measured(page: Page, frames: Frames, act: (step: number) => Promise<void>): Promise<void> {
  const drawn = () => page.evaluate<number>("Number(document.querySelector('canvas[data-drawn]').dataset.drawn)");
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const scriptSeconds = async () =>
    (await session.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'ScriptDuration')?.value ?? 0;
  const [before, scriptBefore, start] = [await drawn(), await scriptSeconds(), performance.now()];
  for (let step = 0; performance.now() - start < MEASURED_MS; step++) await act(step);
  const seconds = (performance.now() - start) / 1000;
  const count = (await drawn()) - before;
  frames.painted.push(count / seconds);
  frames.script.push((1000 * ((await scriptSeconds()) - scriptBefore)) / Math.max(1, count));
  await session.detach();
}

/** A store with the shipped `shapes` under another name, and 10,000 reference items that were never data. */
async function largeStore(): Promise<string> {
  const directory = join(MODELS, 'shapes', '1');
  const manifest: Manifest = parseManifest(JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')));
  const files = new Map<string, Uint8Array>();
  for (const file of Object.keys(manifest.files)) {
    if (!file.startsWith('reference-')) files.set(file, await readFile(join(directory, file)));
  }
  const random = new RandomSource(1);
  const size = manifest.latent.size;
  const labels = Uint16Array.from({ length: POINTS }, () => random.integer(CLASSES));
  const noise = random.fillNormal(new Float32Array(2 * POINTS));
  const places = Uint16Array.from(noise, (value, i) => {
    const label = labels[i >> 1] ?? 0;
    const middle = i % 2 === 0 ? Math.cos(label) : Math.sin(label);
    return Math.max(0, Math.min(65_535, Math.round(32_768 + 21_000 * middle + 2600 * value)));
  });
  const columns = 100;
  const [, height, width] = manifest.input.shape as [number, number, number];
  const pixels = new Uint8Array(columns * width * (POINTS / columns) * height).map((_, i) => (i * 37) % 251);
  const reference: Reference = {
    count: POINTS,
    codes: {
      file: 'reference-codes.u8',
      minimum: Array.from({ length: size }, () => -3),
      maximum: Array.from({ length: size }, () => 3),
    },
    map: { file: 'reference-map.u16' },
    principal_components: {
      mean: Array.from({ length: size }, () => 0),
      axes: [0, 1].map((axis) => Array.from({ length: size }, (_, i) => (i === axis ? 1 : 0))) as [number[], number[]],
      explained: [0.2, 0.1],
    },
    labels: { file: 'reference-labels.u16', names: Array.from({ length: CLASSES }, (_, i) => `class ${i}`) },
    items: { kind: 'sprites', file: 'reference-items.webp', columns },
  };
  files.set(
    'reference-codes.u8',
    Uint8Array.from({ length: POINTS * size }, () => random.integer(256)),
  );
  files.set('reference-map.u16', encodeUint16(places));
  files.set('reference-labels.u16', encodeUint16(labels));
  files.set(
    'reference-items.webp',
    await sharp(pixels, { raw: { width: columns * width, height: (POINTS / columns) * height, channels: 1 } })
      .webp({ lossless: true, effort: 0 })
      .toBuffer(),
  );
  const store = await mkdtemp(join(tmpdir(), 'elbo-large-'));
  const { version: _version, files: _files, ...draft } = manifest;
  await writeModel(store, { ...draft, name: 'large', reference } as ManifestDraft, files);
  return store;
}
