import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { launchChromium, startService } from './explored-service.js';

// Pictures of every view of the explorer, at two widths, light and dark, of the shipped models.

const MODELS = fileURLToPath(new URL('../../../models', import.meta.url));
const PICTURES = fileURLToPath(new URL('../../../docs/screenshots/', import.meta.url));

const VIEWS = [
  ['map', '?model=mnist&at=0.62,0.42'],
  ['traversal', '?model=shapes&view=traversal&start=item:12'],
  ['samples', '?model=fashion-mnist&view=samples&count=64&seed=7'],
  ['morph', '?model=mnist&view=morph&from=item:324&to=item:12&path=spherical'],
  ['anomaly', '?model=mnist&view=anomaly&input=noise:3'],
  ['models', '?model=mnist&view=models'],
] as const;
const WIDTHS = [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
];
const QUALITY = 82;

const service = await startService(MODELS);
const browser = await launchChromium();
await mkdir(PICTURES, { recursive: true });
for (const [name, query] of VIEWS) {
  for (const viewport of WIDTHS) {
    for (const colorScheme of ['light', 'dark'] as const) {
      const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
      const page = await context.newPage();
      await page.goto(`${service.origin}/${query}`);
      await page.waitForLoadState('networkidle');
      const png = await page.screenshot();
      await context.close();
      const file = `${name}-${viewport.width}-${colorScheme}.webp`;
      await writeFile(`${PICTURES}${file}`, await sharp(png).webp({ quality: QUALITY, effort: 6 }).toBuffer());
      console.log(file);
    }
  }
}
await browser.close();
service.stop();
