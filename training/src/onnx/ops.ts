// Everything a graph is written down with: one function an ONNX operator, and compositions of them.

export { apply, applyAll, type Operand, scalar } from './ops/apply.js';
export * from './ops/control-flow.js';
export * from './ops/convolution.js';
export * from './ops/elementwise.js';
export * from './ops/indexing.js';
export * from './ops/linear.js';
export * from './ops/normalisation.js';
export * from './ops/reductions.js';
export * from './ops/shaping.js';
export * from './ops/special-functions.js';
