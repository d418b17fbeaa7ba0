import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Manifest } from '@elbo/models';
import type { VNode } from 'preact';
import { renderToString } from 'preact-render-to-string';
import type { MapData } from './sections/latent-map.js';
import type { Section } from './sections/section.js';
import { Summary } from './sections/summary.js';

const asset = (name: string) => readFileSync(new URL(`../../assets/report/${name}`, import.meta.url), 'utf8');

export interface PageContent {
  readonly manifest: Manifest;
  readonly parameters: number;
  readonly sections: readonly Section[];
  /** Said at the top, such as that the data were not found. */
  readonly notice?: VNode;
  readonly map?: MapData;
}

/**
 * The whole page as one HTML document that loads nothing: a policy inside it forbids what it does not hold itself, so that
 * even markup that slipped through could neither run nor call anywhere. Text is escaped by the renderer.
 */
export function renderPage({ manifest, parameters, sections, notice, map }: PageContent): string {
  const script = asset('page.js');
  const title = `${manifest.name} ${manifest.version}`;
  const policy = [
    "default-src 'none'",
    'img-src data:',
    "style-src 'unsafe-inline'",
    `script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const head = renderToString(
    <>
      <meta charset="utf-8" />
      <meta http-equiv="Content-Security-Policy" content={policy} />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <meta name="color-scheme" content="light dark" />
      <title>{title}</title>
    </>,
  );
  const body = renderToString(
    <>
      <header>
        <h1>
          {manifest.name} <span class="version">version {manifest.version}</span>
        </h1>
        <p class="description">{manifest.description}</p>
        {notice !== undefined && <p class="notice">{notice}</p>}
        <Summary manifest={manifest} parameters={parameters} />
        <nav aria-label="Contents">
          <ul>
            {sections.map(({ id, title }) => (
              <li key={id}>
                <a href={`#${id}`}>{title}</a>
              </li>
            ))}
          </ul>
        </nav>
      </header>
      <main>{sections.map(sectionOf)}</main>
      <footer>
        Made by <code>elbo report</code> from the exported graphs, as any user of the model runs them.
      </footer>
    </>,
  );
  // No "<" in the data can end their element.
  const data = map === undefined ? '' : JSON.stringify(map).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
${head}
<style>
${asset('page.css')}</style>
</head>
<body>
${body}
<script type="application/json" id="map-data">${data}</script>
<script>${script}</script>
</body>
</html>
`;
}

function sectionOf({ id, title, body }: Section): VNode {
  return (
    <section key={id} id={id} aria-labelledby={`${id}-heading`}>
      <h2 id={`${id}-heading`}>{title}</h2>
      {body}
    </section>
  );
}
