import { readdir, readFile } from 'node:fs/promises';
import { ManifestSchema } from '@elbo/models';
import { VARIABLES } from '@elbo/server/variables';
import { elboCommand } from '@elbo/training/cli/elbo-command';
import { ConfigurationSchema, ObjectiveSchema } from '@elbo/training/vae/configuration';
import { describe, expect, it } from 'vitest';
import { referencePages } from '../../docs/dist/pages.js';

const folder = new URL('../../docs/reference/', import.meta.url);
const pageOf = (name: string) => readFile(new URL(name, folder), 'utf8');

describe('docs/reference', () => {
  it('is what the definitions in the code say; npm run docs writes it anew', async () => {
    const pages = await referencePages();
    expect((await readdir(folder)).sort()).toEqual([...pages.keys()].sort());
    for (const [name, text] of pages) expect(await pageOf(name), `${name}: npm run docs writes it`).toBe(text);
  });

  it('has every variable, command, option and field', async () => {
    const configuration = await pageOf('configuration.md');
    for (const name of Object.keys(VARIABLES)) expect(configuration).toContain(`| \`${name}\` |`);
    const cli = await pageOf('cli.md');
    for (const command of elboCommand().commands) {
      expect(cli).toContain(`\n## elbo ${command.name()}\n`);
      for (const { flags } of command.options) expect(cli).toContain(`| \`${flags}\` |`);
    }
    const training = await pageOf('training-configuration.md');
    for (const name of Object.keys(ConfigurationSchema.properties)) expect(training).toContain(`| \`${name}\` |`);
    for (const name of Object.keys(ObjectiveSchema.properties)) expect(training).toContain(`| \`objective.${name}\` |`);
    const manifest = await pageOf('manifest.md');
    for (const name of Object.keys(ManifestSchema.properties)) expect(manifest).toContain(`| \`${name}\` |`);
  });

  it('has every route and every link of it leads to a heading', async () => {
    const http = await pageOf('http.md');
    const { paths }: { paths: Record<string, Record<string, object>> } = JSON.parse(
      await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'),
    );
    for (const [path, methods] of Object.entries(paths)) {
      for (const method of Object.keys(methods)) expect(http).toContain(`\n## ${method.toUpperCase()} ${path}\n`);
    }
  });
});
