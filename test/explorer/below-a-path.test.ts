import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { describeExplorer } from './support/explorer-in-chromium.js';

const PATH = '/models-of/ours';

describeExplorer('the explorer below a path of a proxy', (context) => {
  test('asks the service there, and says so in its commands', async () => {
    const service = new URL(context.running.url);
    const proxy = createServer((incoming, outgoing) => {
      const { url = '', method, headers } = incoming;
      if (!url.startsWith(`${PATH}/`)) {
        outgoing.writeHead(404).end();
        return;
      }
      const asked = request(
        { host: service.hostname, port: service.port, path: url.slice(PATH.length), method, headers },
        (answer) => {
          outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(outgoing);
        },
      );
      asked.on('error', () => outgoing.destroy());
      incoming.pipe(asked);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const base = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}${PATH}`;
    const { page, complaints } = await context.open('');
    await page.goto(`${base}/?model=pictured&view=samples`);
    const command = page.locator('[data-command]');
    await command.waitFor();
    expect(await command.getAttribute('data-command')).toContain(`'${base}/sample?`);
    expect(await page.evaluate('document.querySelector(".docs").href')).toBe(`${base}/docs`);
    await page.getByRole('link', { name: 'Latent map' }).click();
    await page.locator('canvas[data-drawn]').waitFor();
    expect(page.url()).toBe(`${base}/?model=pictured`);
    expect(complaints).toEqual([]);
    await page.context().close();
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  });
});
