import { ClassifierSchema } from '@elbo/training/classifier/configuration';
import { ConfigurationSchema } from '@elbo/training/vae/configuration';
import { asJson, fieldsOf } from './json-schema.js';
import { code, page, table } from './markdown.js';

/** The fields of a preset. */
export function trainingConfigurationPage(): string {
  return page(
    'Configuration of a training run',
    [
      'A preset is a file of these fields; `npx elbo presets NAME` prints one. `--set FIELD=VALUE` of `elbo train` changes one, such as',
      '`--set objective.beta=4`. Fields with a default may be left out. The manifest of a model holds the whole configuration.',
      'Fields that do not suit each other are refused with a line that says why.',
    ].join('\n'),
    fieldTable(ConfigurationSchema),
    '## Of a classifier',
    'Presets with `family` `classifier` have these fields, which mean the same.',
    fieldTable(ClassifierSchema),
  );
}

function fieldTable(schema: object): string {
  return table(
    ['field', 'values', 'default', 'meaning'],
    fieldsOf(asJson(schema)).map(({ path, type, default: fallback, isRequired, meaning }) => [
      code(path),
      type,
      fallback ?? (isRequired ? 'must be given' : ''),
      meaning,
    ]),
  );
}
