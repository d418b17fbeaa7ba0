export * from './calibration.js';
export * from './condition.js';
export * from './errors.js';
export * from './image-pixels.js';
export * from './manifest.js';
export * from './prior.js';
export * from './random.js';
export * from './store.js';
