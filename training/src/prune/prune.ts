import { type ActivationName, LEAKY_SLOPE } from '../nn/layers.js';
import type { Parameter, WeightValues } from '../nn/parameters.js';
import { type Configuration, ConfigurationError } from '../vae/configuration.js';
import type { Model } from '../vae/model.js';
import { type Side, type Units, unitsOf } from './units.js';

/** A smaller network that computes the same. */
export interface Pruned {
  readonly configuration: Configuration;
  readonly weights: WeightValues;
  /** Units that are gone, by the field that counted them. */
  readonly removed: Readonly<Record<string, number>>;
}

interface Values {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}
/** By the names of parameters. */
type Network = Map<string, Values>;

/**
 * Takes the units out of a VAE that do nothing: those that no weight leads from, and those that no weight leads to, which
 * are constants and join the next bias. What is left computes the same posterior of the latent dimensions that are left
 * and the same decoded values, within rounding. Latent dimensions go where the decoder does not read them; their part of
 * the KL term goes with them.
 * @param threshold weights of at most this magnitude count as 0; with 0 nothing changes
 * @throws {ConfigurationError} where the model has layers that this does not know, knows classes, or has a prior that binds latent
 *   dimensions together
 */
export function prune(
  configuration: Configuration,
  model: Pick<Model, 'parameters'>,
  weights: WeightValues,
  threshold = 0,
): Pruned {
  const units = unitsOf(configuration);
  checkKnown(model.parameters, units);
  if (configuration.conditional) {
    throw new ConfigurationError('conditional is true; expected a model that knows no classes');
  }
  if (configuration.prior !== 'standard-normal') {
    throw new ConfigurationError(
      `prior is ${configuration.prior}; expected standard-normal, whose latent dimensions can go one by one`,
    );
  }
  const network: Network = new Map(
    model.parameters.map(({ name, shape }) => {
      const data = weights.get(name)?.slice() ?? new Float32Array();
      if (threshold > 0 && shape.length > 1)
        for (const [i, v] of data.entries()) if (Math.abs(v) <= threshold) data[i] = 0;
      return [name, { shape, data }];
    }),
  );
  const sizes = new Map(units.map(({ field, size }) => [field, size]));
  // What goes out of one layer may leave units of its neighbours without use.
  let isChanged = true;
  while (isChanged) {
    isChanged = false;
    for (const group of units) {
      const size = sizes.get(group.field) ?? 0;
      const kept = keptUnits(network, group, size);
      if (kept.length === size) continue;
      for (const side of group.from) {
        keep(network, weightOf(side), side.axis, size, kept);
        keep(network, biasOf(side), 0, size, kept);
      }
      for (const side of group.to) keep(network, weightOf(side), side.axis, size, kept);
      sizes.set(group.field, kept.length);
      isChanged = true;
    }
  }
  return {
    configuration: units.reduce((smaller, { field, size, resized }) => {
      const left = sizes.get(field) ?? size;
      return left === size ? smaller : resized(smaller, left);
    }, configuration),
    weights: new Map([...network].map(([name, { data }]) => [name, data])),
    removed: Object.fromEntries(
      units.flatMap(({ field, size }) => {
        const gone = size - (sizes.get(field) ?? size);
        return gone === 0 ? [] : [[field, gone]];
      }),
    ),
  };
}

/** The units that stay, at least one; the biases behind the others hold what those gave. */
function keptUnits(network: Network, { from, to, activation }: Units, size: number): number[] {
  const isRead = some(to.map((side) => used(network, side, size)));
  const isFed = some(from.map((side) => used(network, side, size)));
  const kept: number[] = [];
  for (let unit = 0; unit < size; unit++) {
    if (!isRead[unit]) continue;
    if (isFed[unit] || activation === undefined || !fold(network, { from, to, activation }, unit, size))
      kept.push(unit);
  }
  if (kept.length > 0) return kept;
  // A layer needs a unit; what this one gave stands in the biases by now.
  for (const side of to) {
    const weight = valuesOf(network, weightOf(side));
    eachOf(weight, side.axis, size, (i, unit) => {
      if (unit === 0) weight.data[i] = 0;
    });
  }
  return [0];
}

/** Adds what a constant unit gives to the biases of its readers; false where that is not the same for every output. */
function fold(
  network: Network,
  { from: [source], to, activation }: Pick<Units, 'from' | 'to'> & { activation: ActivationName },
  unit: number,
  size: number,
): boolean {
  const bias = valuesOf(network, biasOf(source)).data;
  const span = bias.length / size;
  const constants = Array.from(bias.subarray(unit * span, (unit + 1) * span), VALUES[activation]);
  if (constants.every((value) => value === 0)) return true;
  const [value] = constants;
  // A map with several values, or zeros around it, is not read alike by all outputs.
  if (constants.length > 1 || !to.every(({ readsWhole }) => readsWhole)) return false;
  for (const side of to) {
    const weight = valuesOf(network, weightOf(side));
    const target = valuesOf(network, biasOf(side)).data;
    const sums = new Float64Array(target.length);
    // Outputs are the last axis of the weights that read a whole unit.
    eachOf(weight, side.axis, size, (i, owner) => {
      if (owner === unit) sums[i % target.length] += value * weight.data[i];
    });
    for (const [i, sum] of sums.entries()) target[i] += sum;
  }
  return true;
}

/** The activations of a number, as `ACTIVATIONS` has them for tensors. */
const VALUES: Readonly<Record<ActivationName, (x: number) => number>> = {
  relu: (x) => Math.max(0, x),
  'leaky-relu': (x) => (x < 0 ? LEAKY_SLOPE * x : x),
  tanh: Math.tanh,
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  silu: (x) => x / (1 + Math.exp(-x)),
};

/** Whether any weight of each unit is not 0. */
function used(network: Network, side: Side, size: number): boolean[] {
  const weight = valuesOf(network, weightOf(side));
  const isUsed = new Array<boolean>(size).fill(false);
  eachOf(weight, side.axis, size, (i, unit) => {
    if (weight.data[i] !== 0) isUsed[unit] = true;
  });
  return isUsed;
}

/** Calls `use` with every element's number and the unit that its place on the axis belongs to. */
function eachOf(
  { shape, data }: Values,
  axis: number,
  size: number,
  use: (element: number, unit: number) => void,
): void {
  const inner = shape.slice(axis + 1).reduce((product, length) => product * length, 1);
  const span = shape[axis] / size;
  for (let i = 0; i < data.length; i++) use(i, Math.floor((Math.floor(i / inner) % shape[axis]) / span));
}

/** Leaves the places of some units on an axis. */
function keep(network: Network, name: string, axis: number, size: number, kept: readonly number[]): void {
  const values = valuesOf(network, name);
  const stays = new Set(kept);
  const data: number[] = [];
  eachOf(values, axis, size, (i, unit) => {
    if (stays.has(unit)) data.push(values.data[i]);
  });
  const length = (values.shape[axis] / size) * kept.length;
  network.set(name, { shape: values.shape.with(axis, length), data: Float32Array.from(data) });
}

function some(flags: readonly (readonly boolean[])[]): boolean[] {
  return flags[0].map((_, unit) => flags.some((of) => of[unit]));
}

const weightOf = ({ layer }: Side): string => `${layer}.weight`;
const biasOf = ({ layer }: Side): string => `${layer}.bias`;

function valuesOf(network: Network, name: string): Values {
  const values = network.get(name);
  if (values === undefined) throw new Error(`no values for the parameter ${name}`);
  return values;
}

/** Units are found by the names of layers; others may read them, too, so that all must be known. */
function checkKnown(parameters: readonly Parameter[], units: readonly Units[]): void {
  const known = new Set(
    units.flatMap(({ from, to }) => [...from, ...to]).flatMap((side) => [weightOf(side), biasOf(side)]),
  );
  const isOther = ({ name, shape }: Parameter) => shape.length > 1 && !known.has(name);
  const names = new Set(parameters.map(({ name }) => name));
  const unknown = parameters.find(isOther)?.name ?? [...known].find((name) => !names.has(name));
  if (unknown !== undefined) {
    throw new ConfigurationError(`the model's layer of ${unknown} is not one that can be pruned`);
  }
}
