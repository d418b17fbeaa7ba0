import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const COMPRESSED = /\.(?:html|js|css|svg)$/;

/** Writes each text file compressed beside itself, at the level that only a build has the time for. */
function compressedCopies(): Plugin {
  return {
    name: 'compressed-copies',
    writeBundle: async ({ dir = '' }) => {
      const names = (await readdir(dir, { recursive: true })).filter((name) => COMPRESSED.test(name));
      for (const name of names) {
        const content = await readFile(join(dir, name));
        await writeFile(join(dir, `${name}.br`), await promisify(brotliCompress)(content));
        await writeFile(join(dir, `${name}.gz`), await promisify(gzip)(content, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  root: import.meta.dirname,
  // So that a proxy may have the service below a path of its own.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    outDir: '../server/assets/explorer',
    emptyOutDir: true,
    rolldownOptions: { checks: { pluginTimings: false } },
    // The policy of the page refuses what lies inside it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // `npx vite explorer` beside a running service.
  server: {
    proxy: { '^/(?:models|encode|decode|sample|reconstruct|interpolate|anomaly-score)': 'http://127.0.0.1:8080' },
  },
  plugins: [compressedCopies()],
});
