import { drawLabels, drawLatents, itemSize, type LatentPrior, type LoadedModel, type Manifest } from '@elbo/models';
import type { Engine, Feeds, Program } from '../engines/engine.js';
import { type InputFeeds, oneHotRows } from '../evaluation/batches.js';
import { float32 } from '../onnx/tensor.js';

/** Rows that are decoded at a time. */
const ROWS_PER_RUN = 256;

/** A version of the store as its users have it: the three exported graphs, and nothing of the training code. */
export class ServedModel {
  readonly manifest: Manifest;
  readonly #prior: LatentPrior;
  readonly #encoder: Program;
  readonly #decoder: Program;
  readonly #scorer: Program;

  private constructor(
    manifest: Manifest,
    prior: LatentPrior,
    [encoder, decoder, scorer]: readonly [Program, Program, Program],
  ) {
    this.manifest = manifest;
    this.#prior = prior;
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.#scorer = scorer;
  }

  static async open(engine: Engine, { manifest, graphs, prior }: LoadedModel): Promise<ServedModel> {
    return new ServedModel(manifest, prior, [
      await engine.load(graphs.encoder),
      await engine.load(graphs.decoder),
      await engine.load(graphs.scorer),
    ]);
  }

  /** Of a conditional model. */
  get classes(): number | undefined {
    return this.manifest.condition?.classes;
  }

  /** @returns both [n, Z] */
  async encode(inputs: InputFeeds): Promise<{ means: Float32Array; logVariances: Float32Array }> {
    const { mean, log_variance } = await runPadded(this.#encoder, inputs, ['mean', 'log_variance']);
    return { means: mean, logVariances: log_variance };
  }

  /**
   * The expected values of data: the one place where the decoder is fed.
   * @param latents [n, Z], row-major
   * @param labels of a conditional model, [n]: the class of each, or all classes in turn
   * @returns n items, each of the size of the input
   */
  async decode(latents: Float32Array, labels?: ArrayLike<number>): Promise<Float32Array[]> {
    const { latent, input } = this.manifest;
    const size = itemSize(input);
    const items: Float32Array[] = [];
    for (let at = 0; at < latents.length; at += ROWS_PER_RUN * latent.size) {
      const z = latents.slice(at, at + ROWS_PER_RUN * latent.size);
      const [first, rows] = [at / latent.size, z.length / latent.size];
      const inputs = {
        z: float32(z, [rows, latent.size]),
        ...this.labelFeed(
          Array.from({ length: rows }, (_, i) =>
            labels === undefined ? (first + i) % (this.classes ?? 1) : labels[first + i],
          ),
        ),
      };
      const { x_mean } = await runPadded(this.#decoder, inputs, ['x_mean']);
      for (let from = 0; from < x_mean.length; from += size) items.push(x_mean.subarray(from, from + size));
    }
    return items;
  }

  /** What the graphs of a conditional model take for these classes, [n]; nothing for other models. */
  labelFeed(labels: readonly (number | undefined)[]): Omit<InputFeeds, 'x'> {
    return this.classes === undefined ? {} : { label: oneHotRows(labels, this.classes) };
  }

  /** @returns the anomaly score of each and its components, [n] each */
  async score(inputs: InputFeeds): Promise<{ scores: Float32Array; components: Record<string, Float32Array> }> {
    const { score, ...components } = await runPadded(this.#scorer, inputs, [
      'score',
      ...this.manifest.scorer.components,
    ]);
    return { scores: score, components };
  }

  /** @returns where the error of each lies, [n, …input], in nats */
  async errorMaps(inputs: InputFeeds): Promise<Float32Array> {
    return (await runPadded(this.#scorer, inputs, ['error_map'])).error_map;
  }

  /** Draws from the prior, as `POST /sample` does for the same seed and temperature: [count, Z]. */
  drawFromPrior(count: number, seed: number, temperature = 1): Float32Array {
    return drawLatents(this.#prior, count, seed, temperature);
  }

  /** Classes of samples, as `POST /sample` draws them for the same seed; undefined where the model is not conditional. */
  drawClasses(count: number, seed: number): Int32Array | undefined {
    const { condition } = this.manifest;
    return condition && Int32Array.from(drawLabels(condition.frequencies, count, seed));
  }

  async release(): Promise<void> {
    await Promise.all([this.#encoder, this.#decoder, this.#scorer].map((program) => program.release()));
  }
}

/**
 * ONNX Runtime rounds the last numbers of a tensor in another way where they fill no vector register; the service pads its
 * batches likewise, so that a row has the same bytes in any batch and in either.
 */
const ROWS_PADDED_TO = 4;

async function runPadded<Name extends string>(
  program: Program,
  inputs: Feeds,
  names: readonly Name[],
): Promise<Record<Name, Float32Array>> {
  const [rows] = Object.values(inputs)[0].shape;
  const padded = Math.ceil(rows / ROWS_PADDED_TO) * ROWS_PADDED_TO;
  const feeds = Object.entries(inputs).map(([name, { data, shape }]) => {
    const [, ...rest] = shape;
    const filled = new Float32Array((data.length / rows) * padded);
    filled.set(data as Float32Array);
    return [name, float32(filled, [padded, ...rest])] as const;
  });
  const outputs = await program.run(padded === rows ? inputs : Object.fromEntries(feeds), names);
  return Object.fromEntries(
    names.map((name) => {
      const data = outputs[name].data as Float32Array;
      return [name, data.subarray(0, (data.length / padded) * rows)];
    }),
  ) as Record<Name, Float32Array>;
}
