import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { ElboClient, ElboError } from '@elbo/client';
import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectedMean } from '../server/support/fixture-models.js';
import {
  type FixtureStore,
  fixtureStore,
  type RunningService,
  startService,
} from '../server/support/running-service.js';
import { chromiumNote, launchChromium, noChromium } from '../support/chromium.js';

/** Modules as they are installed; a page finds packages by its import map. */
const MODULES: Readonly<Record<string, string>> = {
  '/client/': fileURLToPath(new URL('./', import.meta.resolve('@elbo/client'))),
  '/openapi-fetch/': fileURLToPath(new URL('./', import.meta.resolve('openapi-fetch'))),
};
const PAGE = `<!doctype html><title>client</title><script type="importmap">
  {"imports": {"@elbo/client": "/client/index.js", "openapi-fetch": "/openapi-fetch/index.mjs"}}
</script>`;

/** What the page's script has in its global scope. */
interface Scope {
  readonly elbo: ElboClient;
  readonly ElboError: typeof ElboError;
}

describe.skipIf(noChromium)(`the client in Chromium${chromiumNote}`, () => {
  let store: FixtureStore;
  let pages: Server;
  let running: RunningService;
  let browser: Browser;
  const { key, entry } = makeApiKey('page');

  beforeAll(async () => {
    pages = createServer(async ({ url = '/' }, response) => {
      const [prefix] = Object.keys(MODULES).filter((start) => url.startsWith(start));
      const module = prefix === undefined ? undefined : `${MODULES[prefix]}${url.slice(prefix.length)}`;
      response.setHeader('content-type', module === undefined ? 'text/html' : 'text/javascript');
      response.end(module === undefined ? PAGE : await readFile(module));
    }).listen(0, '127.0.0.1');
    await once(pages, 'listening');
    store = await fixtureStore();
    const apiKey = parseApiKey(entry);
    if (apiKey === undefined) throw new Error('no key');
    const security = { apiKeys: [apiKey], corsOrigins: [`http://127.0.0.1:${portOf(pages)}`] };
    running = await startService(store.directory, { app: { security } });
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    pages?.close();
    await running?.close();
    await store?.remove();
  });

  it('sends a key, numbers and a picture of a canvas, and reads tensors and problems, from a page of another origin', async () => {
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(`http://127.0.0.1:${portOf(pages)}/`);
    await page.addScriptTag({
      type: 'module',
      content: `import { ElboClient, ElboError } from '@elbo/client';
        globalThis.elbo = new ElboClient({ baseUrl: ${JSON.stringify(running.url)}, apiKey: ${JSON.stringify(key)} });
        globalThis.ElboError = ElboError;`,
    });
    await page.waitForFunction(() => 'elbo' in globalThis);
    const seen = await page.evaluate(async () => {
      const { elbo, ElboError } = globalThis as unknown as Scope;
      const canvas = new OffscreenCanvas(8, 8);
      const context = canvas.getContext('2d');
      if (context === null) throw new Error('no canvas');
      context.fillStyle = 'rgb(51, 51, 51)';
      context.fillRect(0, 0, 8, 8);
      const fromImage = await elbo.encode(await canvas.convertToBlob(), { model: 'grey' });
      const fromNumbers = await elbo.encode(new Float32Array(64).fill(0.2), { model: 'grey' });
      const { data, shape } = await elbo.decode({ latents: fromNumbers.mean }, { model: 'grey' });
      const picture = await createImageBitmap(await elbo.sample({ model: 'grey', count: 4, seed: 7, as: 'png' }));
      const refused = await elbo.encode(new Float32Array(3), { model: 'grey' }).catch((error: unknown) => error);
      return {
        means: [fromImage.mean, fromNumbers.mean],
        decoded: { length: data.length, shape },
        picture: picture.width > 8 && picture.height > 8,
        refused: refused instanceof ElboError && { code: refused.problem?.code, requestId: refused.requestId },
      };
    });
    const expected = expectedMean(store.grey, Array(64).fill(0.2));
    for (const [mean = []] of seen.means) {
      expect(mean).toHaveLength(expected.length);
      for (const [j, value] of mean.entries()) expect(value).toBeCloseTo(expected[j] ?? Number.NaN, 5);
    }
    expect(seen.decoded).toEqual({ length: 64, shape: [1, 1, 8, 8] });
    expect(seen.picture).toBe(true);
    expect(seen.refused).toEqual({ code: 'INVALID_INPUT', requestId: expect.stringMatching(/./) });
    expect(complaints).toEqual([]);
  });
});

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
