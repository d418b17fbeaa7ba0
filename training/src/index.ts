// The library: what `elbo train` and `elbo evaluate` do, for programs.

export { type AddReferenceOptions, addReferenceData } from './add-reference.js';
export { type ClassifierConfiguration, parseClassifierConfiguration } from './classifier/configuration.js';
export { type ClassifierRecord, readClassifier } from './classifier/record.js';
export { type TrainClassifierOptions, type TrainClassifierResult, trainClassifier } from './classifier/train.js';
export { DataError } from './data/data-error.js';
export { type Dataset, type Examples, inMemory } from './data/dataset.js';
export { type DatasetOptions, datasetNames, datasetOf, loadDataset } from './data/datasets.js';
export { createEngine, ENGINES, type EngineName, type EngineRequest } from './engines/create-engine.js';
export type { Engine } from './engines/engine.js';
export { EngineError } from './engines/engine-error.js';
export { type Device, OnnxRuntimeEngine } from './engines/onnxruntime.js';
export { type EvaluateOptions, evaluate, METRICS, type MetricName } from './evaluation/evaluate.js';
export { readTrainedModel, type TrainedModel } from './evaluation/trained-model.js';
export { ParityError } from './export/parity.js';
export { loadAnyPreset } from './presets.js';
export { type PruneOptions, type PruneResult, pruneModel } from './prune/prune-model.js';
export { type Report, type ReportOptions, writeReport } from './report/write-report.js';
export type { FeatureNetwork } from './sample-quality/features.js';
export {
  SAMPLE_METRICS,
  type SampleMetricName,
  type SampleQualityOptions,
  sampleQuality,
} from './sample-quality/sample-quality.js';
export { type TrainOptions, type TrainResult, train } from './train.js';
export { CheckpointError } from './trainer/checkpoint.js';
export { type Progress, TrainingError } from './trainer/trainer.js';
export {
  type Configuration,
  ConfigurationError,
  loadPreset,
  override,
  parseConfiguration,
  presetNames,
} from './vae/configuration.js';
