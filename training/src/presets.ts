import { type ClassifierConfiguration, parseClassifierConfiguration } from './classifier/configuration.js';
import { type Configuration, parseConfiguration, readPreset } from './vae/configuration.js';

/** A configuration of whatever can be trained. */
export type AnyConfiguration = Configuration | ClassifierConfiguration;

/**
 * A preset of whatever family.
 * @throws {ConfigurationError} for an unknown name, listing the known ones
 */
export function loadAnyPreset(name: string): AnyConfiguration {
  return parseAnyConfiguration(readPreset(name));
}

/** @throws {ConfigurationError} naming the first field that is wrong */
export function parseAnyConfiguration(json: unknown): AnyConfiguration {
  return typeof json === 'object' && json !== null && 'family' in json && json.family === 'classifier'
    ? parseClassifierConfiguration(json)
    : parseConfiguration(json);
}

export function isClassifier(configuration: AnyConfiguration): configuration is ClassifierConfiguration {
  return configuration.family === 'classifier';
}
