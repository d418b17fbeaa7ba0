import { cliPage } from './cli-page.js';
import { configurationPage } from './configuration-page.js';
import { httpPage } from './http-page.js';
import { manifestPage } from './manifest-page.js';
import { metricsPage } from './metrics-page.js';
import { trainingConfigurationPage } from './training-configuration-page.js';

/** What stands in docs/reference/, by its file's name, written from the definitions in the code. */
export async function referencePages(): Promise<ReadonlyMap<string, string>> {
  return new Map([
    ['cli.md', cliPage()],
    ['configuration.md', configurationPage()],
    ['http.md', await httpPage()],
    ['manifest.md', manifestPage()],
    ['metrics.md', await metricsPage()],
    ['training-configuration.md', trainingConfigurationPage()],
  ]);
}
