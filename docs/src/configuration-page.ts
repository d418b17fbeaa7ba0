import { describedVariables } from '@elbo/server/variables';
import { code, page, table } from './markdown.js';

/** The environment variables of the service. */
export function configurationPage(): string {
  return page(
    'Configuration of the service',
    [
      'The service reads environment variables when it starts; `npx elbo-server --help` prints them, too.',
      'An empty one counts as not set. A value that cannot be is one line on stderr and exit code 2. A variable `ELBO_…` that is not',
      'in this list is a warning in the log with the nearest name that is.',
    ].join('\n'),
    table(
      ['variable', 'where it is not set', 'values', 'meaning'],
      describedVariables.map(({ name, default: fallback, values, meaning }) => [code(name), fallback, values, meaning]),
    ),
    [
      '`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (an http or https URL) switches traces on, unless',
      "`OTEL_SDK_DISABLED` is `true`; the rest of OpenTelemetry's own variables hold.",
    ].join('\n'),
    'The command line reads two more, `ELBO_DATA_DIR` and `ELBO_CACHE_DIR`: see [cli.md](cli.md).',
  );
}
