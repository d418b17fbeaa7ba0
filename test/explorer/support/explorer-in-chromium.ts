import type { AppOptions } from '@elbo/server/app';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe } from 'vitest';
import { type RunningService, startService } from '../../server/support/running-service.js';
import { chromiumNote, launchChromium, noChromium } from '../../support/chromium.js';
import { type ExplorerStore, explorerStore } from './explorer-store.js';

/** For one step, however busy the machine is. */
const TIMEOUT_MS = 20_000;

export interface Opened {
  readonly page: Page;
  /** Whatever the page complained of. */
  readonly complaints: string[];
}

export interface ExplorerContext {
  readonly running: RunningService;
  readonly store: ExplorerStore;
  /** Opens the explorer in a profile of its own and waits for what the service answers. */
  open(query: string, options?: BrowserContextOptions): Promise<Opened>;
}

/** A suite that drives the explorer of a real service in Chromium; skipped where there is none. */
export function describeExplorer(
  name: string,
  suite: (context: ExplorerContext) => void,
  { models, app }: { readonly models?: string; readonly app?: Partial<AppOptions> } = {},
): void {
  describe.skipIf(noChromium)(`${name}${chromiumNote}`, () => {
    let store: ExplorerStore | undefined;
    let running: RunningService | undefined;
    let browser: Browser | undefined;
    beforeAll(async () => {
      store = models === undefined ? await explorerStore() : undefined;
      running = await startService(models ?? store?.directory ?? '', {
        bodyLimit: 16 << 20,
        maxQueue: 4096,
        maxBatch: 64,
        app,
      });
      browser = await launchChromium();
    });
    afterAll(async () => {
      await browser?.close();
      await running?.close();
      await store?.remove();
    });
    suite({
      get running() {
        return there(running);
      },
      get store() {
        return there(store);
      },
      open: async (query, options = {}) => {
        const context = await there(browser).newContext({ viewport: { width: 1280, height: 900 }, ...options });
        context.setDefaultTimeout(TIMEOUT_MS);
        const page = await context.newPage();
        const complaints = complaintsOf(page);
        await page.goto(`${there(running).url}/${query}`);
        return { page, complaints };
      },
    });
  });
}

function there<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the suite has not begun');
  return value;
}

/** Everything that the page writes to the console, throws, or asks for elsewhere. */
function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    const url = request.url();
    if (!/^(?:blob|data|http:\/\/127\.0\.0\.1):?/.test(url)) complaints.push(`request: ${url}`);
  });
  return complaints;
}
