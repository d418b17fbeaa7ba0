import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';

const page = fileURLToPath(new URL('../../server/assets/explorer/', import.meta.url));
const files = readdirSync(page, { recursive: true, encoding: 'utf8' }).filter((name) =>
  /\.(?:html|js|css|svg)$/.test(name),
);

/** Bytes that the first view may take, compressed. */
const BUDGET = 60_000;

describe('the first load of the explorer', () => {
  test('is small', () => {
    const bytes = files.map((name) => gzipSync(readFileSync(`${page}${name}`)).length);
    expect(files.length).toBeGreaterThanOrEqual(4);
    expect(bytes.reduce((sum, one) => sum + one, 0)).toBeLessThan(BUDGET);
  });

  test('has nothing inside the page that its policy refuses, and asks no other host', () => {
    const html = readFileSync(`${page}index.html`, 'utf8');
    expect(html).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=/i);
    for (const name of files.filter((name) => /\.(?:html|css)$/.test(name))) {
      expect(readFileSync(`${page}${name}`, 'utf8')).not.toMatch(/(?:src|href)="https?:|url\(|@import/);
    }
  });
});
