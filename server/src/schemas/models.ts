import {
  CalibrationSchema,
  ConditionSchema,
  ImageInputSchema,
  LatentSchema,
  LatentSummarySchema,
  MetricSchema,
  PriorSchema,
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
    scorer: Type.Object({ components: Type.Array(Type.String()) }),
    calibration: CalibrationSchema,
    training: Type.Record(Type.String(), Type.Unknown(), { description: 'How the model was trained, and on what' }),
  },
  { $id: 'ModelDetails', title: 'ModelDetails' },
);
