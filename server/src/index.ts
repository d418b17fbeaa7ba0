// The library: the service inside a program of one's own.

export { type AppOptions, buildApp, type Timeouts } from './app.js';
export { type Configuration, ConfigurationError, readConfiguration, type Security } from './configuration.js';
export { InferenceError } from './inference/errors.js';
export { InferenceService, type ServiceOptions } from './inference/service.js';
