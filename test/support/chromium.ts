import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const executable = [
  process.env.ELBO_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path !== undefined && existsSync(path));

export const noChromium = executable === undefined;
/** Why tests are skipped, for their names; nothing where they are not. */
export const chromiumNote = noChromium ? ' (skipped: no Chromium is installed; ELBO_CHROMIUM may name one)' : '';

/** Nothing that the browser does by itself, and no GPU, which test machines have none of. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    ...(executable !== undefined && { executablePath: executable }),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
