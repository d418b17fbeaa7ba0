import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium } from 'playwright-core';

const MAIN = fileURLToPath(new URL('../../../server/dist/main.js', import.meta.url));

export interface ExploredService {
  readonly origin: string;
  stop(): void;
}

/** The service as `npm start` runs it, on a port of the system's choice. */
export function startService(modelsDirectory: string): Promise<ExploredService> {
  const child = spawn(process.execPath, [MAIN], {
    env: { PATH: process.env.PATH, ELBO_MODELS_DIR: modelsDirectory, ELBO_PORT: '0', ELBO_HOST: '127.0.0.1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.once('exit', () => child.kill());
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the service ended with ${code}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { address } = JSON.parse(line) as { address?: string };
      if (address !== undefined) resolve({ origin: address, stop: () => child.kill() });
    });
  });
}

/** Debian's Chromium, without a GPU and without anything that it does by itself. */
export function launchChromium(): Promise<Browser> {
  const executablePath = [process.env.ELBO_CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
    (path) => path !== undefined && existsSync(path),
  );
  if (executablePath === undefined) throw new Error('no Chromium is installed; ELBO_CHROMIUM may name one');
  return chromium.launch({
    executablePath,
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
