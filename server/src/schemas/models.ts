import {
  CalibrationSchema,
  ConditionSchema,
  FileRecordSchema,
  ImageInputSchema,
  LatentSchema,
  LatentSummarySchema,
  MetricSchema,
  PriorSchema,
  ReferenceSchema,
  ScorerSchema,
  VectorInputSchema,
} from '@elbo/models';
import { Type } from 'typebox';

const summary = {
  name: Type.String(),
  version: Type.String(),
  is_default: Type.Boolean({ description: 'Answers where a request names no model and no version' }),
  description: Type.String(),
  family: Type.String(),
  input: Type.Union([ImageInputSchema, VectorInputSchema]),
  latent: LatentSummarySchema,
  metrics: Type.Record(Type.String(), MetricSchema),
};

export const ModelSummary = Type.Object(summary, { $id: 'ModelSummary', title: 'ModelSummary' });

export const ModelList = Type.Object(
  { models: Type.Array(Type.Ref('ModelSummary#')) },
  { $id: 'ModelList', title: 'ModelList' },
);

export const ModelDetails = Type.Object(
  {
    ...summary,
    latent: LatentSchema,
    versions: Type.Array(Type.String(), { description: 'Every loaded version of this model' }),
    likelihood: Type.Object({ kind: Type.String() }),
    prior: PriorSchema,
    condition: Type.Optional(ConditionSchema),
    scorer: ScorerSchema,
    calibration: CalibrationSchema,
    drift: Type.Optional(
      Type.Object(
        {
          items: Type.Integer({ description: 'The last items scored, at most 1,000' }),
          distance: Type.Number({ description: 'Kolmogorov-Smirnov distance of their p-values to uniform' }),
          p_value: Type.Number({ description: 'Of such a distance, while inputs are as in the calibration' }),
        },
        { description: 'How far inputs have drifted from the calibration; absent until 20 items were scored' },
      ),
    ),
    reference: Type.Optional(ReferenceSchema),
    files: Type.Array(Type.Object({ name: Type.String(), ...FileRecordSchema.properties }), {
      description: 'Of the version; `/models/{name}/files/{file}` gives all but the graphs',
    }),
    training: Type.Record(Type.String(), Type.Unknown(), { description: 'How the model was trained, and on what' }),
  },
  { $id: 'ModelDetails', title: 'ModelDetails' },
);

export const ModelChanges = Type.Object(
  {
    name: Type.String(),
    versions: Type.Array(Type.String(), { description: 'Versions of the model that serve now' }),
    loaded: Type.Array(Type.String(), { description: '`name/version` of what is new or has new content' }),
    unloaded: Type.Array(Type.String(), { description: '`name/version` of what is gone or had other content' }),
  },
  { $id: 'ModelChanges', title: 'ModelChanges' },
);
