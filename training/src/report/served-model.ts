import { itemSize, type LoadedModel, type Manifest, RandomSource } from '@elbo/models';
import type { Engine, Program } from '../engines/engine.js';
import { float32, type TensorData } from '../onnx/tensor.js';

/** Rows that are decoded at a time. */
const ROWS_PER_RUN = 256;

/** A version of the store as its users have it: the three exported graphs, and nothing of the training code. */
export class ServedModel {
  readonly manifest: Manifest;
  readonly #encoder: Program;
  readonly #decoder: Program;
  readonly #scorer: Program;

  private constructor(manifest: Manifest, [encoder, decoder, scorer]: readonly [Program, Program, Program]) {
    this.manifest = manifest;
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.#scorer = scorer;
  }

  static async open(engine: Engine, { manifest, graphs }: LoadedModel): Promise<ServedModel> {
    return new ServedModel(manifest, [
      await engine.load(graphs.encoder),
      await engine.load(graphs.decoder),
      await engine.load(graphs.scorer),
    ]);
  }

  /** @param x [n, …input] @returns both [n, Z] */
  async encode(x: TensorData): Promise<{ means: Float32Array; logVariances: Float32Array }> {
    const { mean, log_variance } = await this.#encoder.run({ x });
    return { means: mean.data as Float32Array, logVariances: log_variance.data as Float32Array };
  }

  /**
   * The expected values of data: the one place where the decoder is fed.
   * @param latents [n, Z], row-major
   * @returns n items, each of the size of the input
   */
  async decode(latents: Float32Array): Promise<Float32Array[]> {
    const { latent, input } = this.manifest;
    const size = itemSize(input);
    const items: Float32Array[] = [];
    for (let at = 0; at < latents.length; at += ROWS_PER_RUN * latent.size) {
      const z = latents.slice(at, at + ROWS_PER_RUN * latent.size);
      const { x_mean } = await this.#decoder.run({ z: float32(z, [z.length / latent.size, latent.size]) });
      const values = x_mean.data as Float32Array;
      for (let from = 0; from < values.length; from += size) items.push(values.subarray(from, from + size));
    }
    return items;
  }

  /** @param x [n, …input] @returns the anomaly score of each, [n], and where their error lies, [n, …input] */
  async score(x: TensorData): Promise<{ scores: Float32Array; errorMaps: Float32Array }> {
    const { score, error_map } = await this.#scorer.run({ x });
    return { scores: score.data as Float32Array, errorMaps: error_map.data as Float32Array };
  }

  /**
   * Draws from the prior, as `POST /sample` does for the same seed: the one place where a prior is sampled.
   * @returns [count, Z], or undefined for a kind of prior that is not known here
   */
  drawFromPrior(count: number, seed: number): Float32Array | undefined {
    const { prior, latent } = this.manifest;
    if (prior.kind !== 'standard-normal') return undefined;
    return new RandomSource(seed).fillNormal(new Float32Array(count * latent.size));
  }

  async release(): Promise<void> {
    await Promise.all([this.#encoder, this.#decoder, this.#scorer].map((program) => program.release()));
  }
}
