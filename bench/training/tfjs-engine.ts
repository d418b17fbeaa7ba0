import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import type { Feeds, Program } from '@elbo/training/engines/engine';
import type { Parameter } from '@elbo/training/nn/parameters';
import { float32, type TensorData } from '@elbo/training/onnx/tensor';
import {
  STATES,
  STEP_METRICS,
  type StateName,
  type StepMetric,
  stateName,
} from '@elbo/training/trainer/training-graph';
import type { Configuration } from '@elbo/training/vae/configuration';
import type { Model } from '@elbo/training/vae/model';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import type { Compiler } from './contenders.js';

/** How tfjs differentiates a matrix product: by its own rule, or by one rewritten for its fast kernel. */
export type TfjsGradients = 'own' | 'rewritten';

/** A parameter and its tfjs variables, one for each of Adam's states. */
interface Weights {
  readonly parameter: Parameter;
  readonly variables: Readonly<Record<StateName, tf.Variable>>;
}

/**
 * The peer: the training steps of Elbo's MLP VAE, written in tfjs on its WASM backend, as a program that the trainer
 * feeds exactly as it feeds Elbo's graph. It reads the weights before the first step of a run and hands them back
 * after the last, as ONNX Runtime does; in between they are tfjs variables that are assigned in place.
 * SIMD is on. There are no threads: tfjs turns them off in Node (tensorflow/tfjs issue 3830), and its worker, a
 * blob: URL, does not start there.
 */
export async function createTfjsEngine(
  gradients: TfjsGradients,
  model: Model,
  configuration: Configuration,
): Promise<Compiler> {
  const library = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
  setWasmPaths(dirname(library) + sep);
  if (!(await tf.setBackend('wasm'))) throw new Error('the WASM backend of tfjs does not start');
  if (gradients === 'rewritten') rewriteProductGradient();
  return { compile: async () => new TfjsProgram(model, configuration) };
}

/**
 * tfjs differentiates a matrix product by products with a transposed operand, for which its WASM backend has a plain
 * loop nest; only a product without transposition goes to XNNPACK, nine times as fast. So this rule transposes first,
 * always the smaller operand.
 */
function rewriteProductGradient(): void {
  tf.unregisterGradient('BatchMatMul');
  tf.registerGradient({
    kernelName: 'BatchMatMul',
    inputsToSave: ['a', 'b'],
    gradFunc(dy, [a, b], attributes) {
      const { transposeA, transposeB } = attributes as unknown as { transposeA: boolean; transposeB: boolean };
      if (Array.isArray(dy) || transposeA || transposeB) throw new Error('expected a product without transposition');
      return {
        a: () => tf.transpose(tf.matMul(b, tf.transpose(dy))),
        b: () => tf.matMul(tf.transpose(a), dy),
      };
    },
  });
}

class TfjsProgram implements Program {
  readonly #configuration: Configuration;
  readonly #inputSize: number;
  readonly #latentSize: number;
  readonly #weights: readonly Weights[];

  constructor(model: Model, configuration: Configuration) {
    this.#configuration = configuration;
    this.#inputSize = model.inputShape.reduce((product, dimension) => product * dimension, 1);
    this.#latentSize = model.latentSize;
    this.#weights = model.parameters.map((parameter) => {
      const zeros = () => tf.tidy(() => tf.variable(tf.zeros([...parameter.shape])));
      return { parameter, variables: { parameter: zeros(), gradient_sum: zeros(), square_sum: zeros() } };
    });
  }

  async run(feeds: Feeds): Promise<Record<string, TensorData>> {
    this.#eachState((name, variable) => {
      tf.tidy(() => variable.assign(tf.tensor(feeds[name].data as Float32Array, variable.shape)));
    });
    const [steps] = feeds.learning_rate.shape;
    const stepsBefore = Number(feeds.step.data[0]);
    const metrics = Object.fromEntries(STEP_METRICS.map((metric) => [metric, new Float32Array(steps)]));
    for (let i = 0; i < steps; i++) {
      const values = tf.tidy(() => this.#step(feeds, i, stepsBefore + i + 1));
      for (const metric of STEP_METRICS) metrics[metric][i] = values[metric];
    }
    const outputs: Record<string, TensorData> = {};
    for (const metric of STEP_METRICS) outputs[metric] = float32(metrics[metric], [steps]);
    this.#eachState((name, variable) => {
      outputs[`next_${name}`] = float32(variable.dataSync<'float32'>(), variable.shape);
    });
    return outputs;
  }

  async release(): Promise<void> {
    this.#eachState((_, variable) => variable.dispose());
  }

  /** @param step number of this step, from 1 */
  #step(feeds: Feeds, index: number, step: number): Record<StepMetric, number> {
    const x = this.#minibatch(feeds, index);
    const noiseSize = x.shape[0] * this.#latentSize;
    const noise = tf.tensor2d((feeds.noise.data as Float32Array).subarray(index * noiseSize, (index + 1) * noiseSize), [
      x.shape[0],
      this.#latentSize,
    ]);
    const klWeight = Number(feeds.kl_weight.data[index]);
    let terms: { reconstruction: tf.Scalar; kl: tf.Scalar } | undefined;
    const weights = this.#weights.map(({ variables }) => variables.parameter);
    const { value, grads } = tf.variableGrads(() => {
      const { reconstruction, kl } = this.#elboTerms(x, noise);
      terms = { reconstruction: tf.keep(reconstruction), kl: tf.keep(kl) };
      return tf.add(reconstruction, tf.mul(kl, klWeight));
    }, weights);
    if (terms === undefined) throw new Error('tfjs did not compute the loss');

    const gradients = weights.map(({ name }) => grads[name]);
    // By rows first: the backend adds up in float32, one number after the other.
    const squares = gradients.map((gradient) => tf.sum(tf.sum(tf.square(gradient), -1)));
    const norm = Math.sqrt(scalar(tf.addN(squares)));
    const limit = this.#configuration.optimiser.gradient_norm_limit;
    const clipped = norm > limit ? gradients.map((gradient) => tf.mul(gradient, limit / norm)) : gradients;
    this.#adam(clipped, Number(feeds.learning_rate.data[index]), step);

    const { reconstruction, kl } = terms;
    const metrics = {
      loss: scalar(value),
      reconstruction: scalar(reconstruction),
      kl: scalar(kl),
      gradient_norm: norm,
    };
    tf.dispose([reconstruction, kl]);
    return metrics;
  }

  /** Binarised on the host: tfjs has no uint8 tensors, and the copy of the batch is the only one. */
  #minibatch({ examples, batches, thresholds }: Feeds, index: number): tf.Tensor2D {
    const [, batchSize] = batches.shape;
    const size = this.#inputSize;
    const pixels = examples.data as Uint8Array;
    const limits = thresholds.data as Uint8Array;
    const x = new Float32Array(batchSize * size);
    for (let row = 0; row < batchSize; row++) {
      const pixel = Number(batches.data[index * batchSize + row]) * size;
      const at = (index * batchSize + row) * size;
      for (let i = 0; i < size; i++) x[row * size + i] = pixels[pixel + i] > limits[at + i] ? 1 : 0;
    }
    return tf.tensor2d(x, [batchSize, size]);
  }

  #elboTerms(x: tf.Tensor2D, noise: tf.Tensor2D): { reconstruction: tf.Scalar; kl: tf.Scalar } {
    const limit = this.#configuration.log_variance_limit;
    const features = this.#hidden('encoder', this.#configuration.encoder.hidden, x);
    const mean = this.#dense('encoder.mean', features);
    const logVariance = tf.clipByValue(this.#dense('encoder.log_variance', features), -limit, limit);
    const z: tf.Tensor2D = tf.add(mean, tf.mul(tf.exp(tf.mul(logVariance, 0.5)), noise));
    const logits = this.#dense('decoder.output', this.#hidden('decoder', this.#configuration.decoder.hidden, z));
    const divergence = tf.sub(tf.add(tf.square(mean), tf.exp(logVariance)), tf.add(logVariance, 1));
    return {
      // Over pixels first, then over examples: one float32 sum over all of them would lose digits.
      reconstruction: tf.mean(tf.sum(tf.sub(tf.softplus(logits), tf.mul(x, logits)), 1)),
      kl: tf.mean(tf.mul(tf.sum(divergence, 1), 0.5)),
    };
  }

  #hidden(name: string, layers: readonly number[], x: tf.Tensor2D): tf.Tensor2D {
    return layers.reduce((signal, _, i) => tf.relu(this.#dense(`${name}.${i}`, signal)), x);
  }

  #dense(name: string, x: tf.Tensor2D): tf.Tensor2D {
    const weight = this.#variable(`${name}.weight`) as tf.Tensor as tf.Tensor2D;
    return tf.add(tf.matMul(x, weight), this.#variable(`${name}.bias`));
  }

  #variable(name: string): tf.Variable {
    const weights = this.#weights.find(({ parameter }) => parameter.name === name);
    if (weights === undefined) throw new Error(`the model has no parameter ${name}`);
    return weights.variables.parameter;
  }

  /** Adam as Elbo has it: the sums without their factors (1 − beta), which join the scalars. */
  #adam(gradients: readonly tf.Tensor[], learningRate: number, step: number): void {
    const { beta1, beta2, epsilon } = this.#configuration.optimiser;
    const firstScale = (1 - beta1) / (1 - beta1 ** step);
    const secondScale = Math.sqrt((1 - beta2) / (1 - beta2 ** step));
    const rate = (learningRate * firstScale) / secondScale;
    for (const [i, { variables }] of this.#weights.entries()) {
      const { parameter, gradient_sum, square_sum } = variables;
      gradient_sum.assign(tf.add(tf.mul(gradient_sum, beta1), gradients[i]));
      square_sum.assign(tf.add(tf.mul(square_sum, beta2), tf.square(gradients[i])));
      const change = tf.div(gradient_sum, tf.add(tf.sqrt(square_sum), epsilon / secondScale));
      parameter.assign(tf.sub(parameter, tf.mul(change, rate)));
    }
  }

  #eachState(visit: (name: string, variable: tf.Variable) => void): void {
    for (const { parameter, variables } of this.#weights) {
      for (const state of STATES) visit(stateName(state, parameter), variables[state]);
    }
  }
}

function scalar(tensor: tf.Tensor): number {
  return tensor.dataSync()[0];
}
