import { CALIBRATION_FILE, GRAPH_FILES, ManifestSchema, PRIOR_FILE } from '@elbo/models';
import { asJson, fieldsOf } from './json-schema.js';
import { code, page, table } from './markdown.js';

/** The files of a model version, and the fields of its manifest. */
export function manifestPage(): string {
  return page(
    'A model version',
    [
      'A version is a folder `STORE/NAME/VERSION` with these files. Whatever stands in `files` of its manifest is checked against its',
      'SHA-256 before it is loaded.',
    ].join('\n'),
    table(
      ['file', 'what it holds'],
      [
        [code('manifest.json'), 'what a program must know about the version, below'],
        [code(GRAPH_FILES.encoder), '`x` float32 [N, …shape] to `mean` [N, Z] and `log_variance` [N, Z]'],
        [code(GRAPH_FILES.decoder), '`z` float32 [N, Z] to `x_mean` [N, …shape]'],
        [
          code(GRAPH_FILES.scorer),
          '`x` to `score` [N], each of `scorer.components` [N], `error_map` [N, …shape]; of tables also `x_mean`',
        ],
        [code(CALIBRATION_FILE), 'scores of held-out examples, ascending, little-endian float32'],
        [code(PRIOR_FILE), 'where the prior is a mixture: its weights, means and deviations'],
        [code('preview.png'), 'of image models: originals, reconstructions, samples'],
        [code('training-curves.svg'), 'losses by epoch'],
      ],
    ),
    'A conditional model (`condition`) has the input `label` float32 [N, classes], one-hot, besides. N is open.',
    '## manifest.json',
    table(
      ['field', 'values', 'there', 'meaning'],
      fieldsOf(asJson(ManifestSchema)).map(({ path, type, isRequired, meaning }) => [
        code(path),
        type,
        isRequired ? 'always' : '',
        meaning,
      ]),
    ),
  );
}
