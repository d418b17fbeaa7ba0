import type { ActivationName } from '../nn/layers.js';
import type { Configuration } from '../vae/configuration.js';

/** One side of a layer where units meet it, each unit taking the same number of places in a row. */
export interface Side {
  readonly layer: string;
  /** Of the weight, counted in its shape. */
  readonly axis: number;
}

/** Where units go on to. */
export interface Reader extends Side {
  /** Whether every output reads the whole of a unit that is one number everywhere: no zeros from around maps join in. */
  readonly readsWhole: boolean;
}

/** Units of one layer of a network: what can be taken out of it, one by one. */
export interface Units {
  /** What the fields below are of, such as `encoder.hidden.0`. */
  readonly field: string;
  /** Layers whose outputs they are. */
  readonly from: readonly Side[];
  /** Layers whose inputs they are. */
  readonly to: readonly Reader[];
  /** What stands between; undefined for latent dimensions, which are drawn and so never constant. */
  readonly activation: ActivationName | undefined;
  readonly size: number;
  resized(configuration: Configuration, size: number): Configuration;
}

const dense = (layer: string) => ({ in: { layer, axis: 0, readsWhole: true }, out: { layer, axis: 1 } });
const convolution = (layer: string, padding: number) => ({
  in: { layer, axis: 2, readsWhole: padding === 0 },
  out: { layer, axis: 3 },
});
const transposed = (layer: string) => ({ in: { layer, axis: 3, readsWhole: false }, out: { layer, axis: 2 } });

/**
 * The units of a VAE's hidden layers, maps and latent space, from the data on; layers have the names that
 * `encoderNetwork` and `decoderNetwork` give them.
 */
export function unitsOf({ encoder, decoder, latent_size, activation }: Configuration): Units[] {
  const heads = ['encoder.mean', 'encoder.log_variance'].map(dense);
  const encoding = [
    ...encoder.convolutions.map(({ padding }, i) => [convolution(`encoder.${i}`, padding)]),
    ...encoder.hidden.map((_, i) => [dense(`encoder.${encoder.convolutions.length + i}`)]),
    heads,
  ];
  // The last dense layer before convolutions fills the first maps.
  const last = decoder.convolutions.length - 1;
  const decoding = [
    ...decoder.hidden.map((_, i) => dense(`decoder.${i}`)),
    ...(last < 0 ? [dense('decoder.output')] : [dense(`decoder.${decoder.hidden.length}`)]),
    ...decoder.convolutions.map((_, i) =>
      transposed(i === last ? 'decoder.output' : `decoder.${decoder.hidden.length + 1 + i}`),
    ),
  ];
  const between = (from: readonly { out: Side }[], to: readonly { in: Reader }[]) => ({
    from: from.map((layer) => layer.out),
    to: to.map((layer) => layer.in),
    activation,
  });
  return [
    ...encoder.convolutions.map(({ channels }, i) => ({
      field: `encoder.convolutions.${i}.channels`,
      ...between(encoding[i], encoding[i + 1]),
      size: channels,
      resized: (configuration: Configuration, size: number) => withChannels(configuration, 'encoder', i, size),
    })),
    ...encoder.hidden.map((size, i) => {
      const at = encoder.convolutions.length + i;
      return {
        field: `encoder.hidden.${i}`,
        ...between(encoding[at], encoding[at + 1]),
        size,
        resized: (configuration: Configuration, units: number) => withHidden(configuration, 'encoder', i, units),
      };
    }),
    {
      field: 'latent_size',
      ...between(heads, [decoding[0]]),
      activation: undefined,
      size: latent_size,
      resized: (configuration: Configuration, size: number) => ({ ...configuration, latent_size: size }),
    },
    ...decoder.hidden.map((size, i) => ({
      field: `decoder.hidden.${i}`,
      ...between([decoding[i]], [decoding[i + 1]]),
      size,
      resized: (configuration: Configuration, units: number) => withHidden(configuration, 'decoder', i, units),
    })),
    ...decoder.convolutions.map(({ channels }, i) => ({
      field: `decoder.convolutions.${i}.channels`,
      ...between([decoding[decoder.hidden.length + i]], [decoding[decoder.hidden.length + i + 1]]),
      size: channels,
      resized: (configuration: Configuration, size: number) => withChannels(configuration, 'decoder', i, size),
    })),
  ];
}

type NetworkName = 'encoder' | 'decoder';

function withHidden(configuration: Configuration, part: NetworkName, at: number, size: number): Configuration {
  const network = configuration[part];
  return { ...configuration, [part]: { ...network, hidden: network.hidden.with(at, size) } };
}

function withChannels(configuration: Configuration, part: NetworkName, at: number, channels: number): Configuration {
  const network = configuration[part];
  const convolutions = network.convolutions.with(at, { ...network.convolutions[at], channels });
  return { ...configuration, [part]: { ...network, convolutions } };
}
