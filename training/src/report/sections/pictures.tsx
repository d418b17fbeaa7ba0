import type { VNode } from 'preact';
import type { ServedModel } from '../../offline/served-model.js';
import type { ImageForm } from '../../pictures/image-form.js';
import { type InlineImage, picture } from '../images.js';
import type { Observations } from '../observations.js';
import { readItems } from '../observations.js';
import type { Section } from './section.js';
import { whole } from './summary.js';

/** Test examples that are shown with their reconstructions. */
const RECONSTRUCTIONS = 24;
export const SAMPLES = 64;

/** A picture at a size that suits its pixels: small images are enlarged, and stay sharp. */
export function Picture({ image, alt, columns = 1 }: { image: InlineImage; alt: string; columns?: number }): VNode {
  return (
    <img
      class={image.width / columns < 100 ? 'pixels' : undefined}
      src={image.url}
      width={image.width}
      height={image.height}
      alt={alt}
      decoding="async"
    />
  );
}

/** Width in the page of one image, in CSS pixels. */
export function tileWidth({ shape: [, , width] }: ImageForm): number {
  return width * Math.max(1, Math.round(60 / width));
}

/** Held-out images, each above what the model makes of it. */
export async function imageReconstructions(
  model: ServedModel,
  { examples, means, dataset }: Observations,
  form: ImageForm,
): Promise<Section> {
  const count = Math.min(RECONSTRUCTIONS, examples.count);
  const originals = await readItems(
    examples,
    Array.from({ length: count }, (_, i) => i),
  );
  const decoded = await model.decode(means.slice(0, count * model.manifest.latent.size), examples.labels);
  const pairs = await Promise.all(originals.map((original, i) => picture(form, [original, decoded[i]], 1)));
  return {
    id: 'reconstructions',
    title: 'Reconstructions',
    body: (
      <>
        <p>
          The first {count} of {whole(dataset.test.count)} test examples of {dataset.name}, which the model was not
          trained on; below each the expected image at its posterior mean.
        </p>
        <ul class="tiled" style={{ '--tile': `${tileWidth(form)}px` }}>
          {pairs.map((image, i) => (
            <li key={image.url}>
              <Picture
                image={image}
                alt={`Test example ${i}${labelled(examples.labels?.[i])}, and its reconstruction`}
              />
            </li>
          ))}
        </ul>
      </>
    ),
  };
}

/** Expected images at draws from the prior. */
export async function imageSamples(model: ServedModel, form: ImageForm, seed: number): Promise<Section> {
  const latents = model.drawFromPrior(SAMPLES, seed);
  const items = await model.decode(latents, model.drawClasses(SAMPLES, seed));
  const images = await Promise.all(items.map((item) => picture(form, [item])));
  return {
    id: 'samples',
    title: 'Samples',
    body: (
      <>
        <p>
          The expected images at {SAMPLES} draws from the prior with seed {seed}; the service gives the same:{' '}
          <code>
            POST /sample?model={model.manifest.name}&count={SAMPLES}&seed={seed}
          </code>
        </p>
        <div
          class="tiled"
          style={{ '--tile': `${tileWidth(form)}px` }}
          role="img"
          aria-label={`${SAMPLES} images that the model draws`}
        >
          {images.map((image) => (
            <Picture key={image.url} image={image} alt="" />
          ))}
        </div>
      </>
    ),
  };
}

export function labelled(label: number | undefined): string {
  return label === undefined ? '' : `, class ${label}`;
}
