import { loadAnyPreset, parseAnyConfiguration } from '@elbo/training/presets';
import {
  type Configuration,
  loadPreset,
  override,
  parseConfiguration,
  presetNames,
  withSettings,
} from '@elbo/training/vae/configuration';
import { capacity, klWeight, learningRateFactor, weightsKlWeight } from '@elbo/training/vae/schedules';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const preset = loadPreset('mnist-mlp');

describe('configuration', () => {
  test('every preset is complete and valid', () => {
    expect(presetNames()).toContain('shapes-mlp');
    for (const name of presetNames()) expect(parseAnyConfiguration(loadAnyPreset(name))).toBeDefined();
  });

  test('encoder and decoder may be given as one object', () => {
    const layers = { convolutions: [], hidden: [8] };
    const { encoder, decoder } = parseConfiguration({ ...loadPreset('shapes-mlp'), encoder: layers, decoder: layers });
    expect(encoder).toEqual(layers);
    expect(decoder).toEqual({ ...layers, stochastic_layers: [] });
  });

  test('an unknown preset is refused with the known ones', () => {
    expect(() => loadPreset('../mnist-mlp')).toThrow(
      /preset "..\/mnist-mlp" is not known; there are: .*images-conv, .*mnist-conv, .*mnist-mlp/,
    );
  });

  test.each([
    ['batch_size', 0, /^batch_size must be >= 1/],
    ['batch_size', 1.5, /^batch_size must be integer/],
    ['likelihood', 'poisson', /^likelihood must be equal to one of the allowed values: bernoulli/],
    ['seed', -1, /^seed must be >= 0/],
    ['seed', 2 ** 32, /^seed must be <= 4294967295/],
    ['name', '../escape', /^name must match pattern/],
    ['encoder', { hidden: [] }, /^encoder has neither convolutions nor hidden layers/],
    ['latent_size', null, /^latent_size must be integer/],
    ['surprise', 1, /^surprise is not a field of a configuration/],
    ['dropout', { kind: 'bayes' }, /^dropout\.kind must be equal to one of the allowed values: none, gaussian/],
    ['dropout', { kind: 'sparse', parts: [] }, /^dropout\.parts must not have fewer than 1 items/],
    ['dropout', { kind: 'gaussian', alpha: 1 }, /^dropout\.alpha must be < 1/],
  ])('%s = %j is refused by name', (field, value, message) => {
    expect(() => parseConfiguration({ ...preset, [field]: value })).toThrow(message);
  });

  test('variational dropout is refused where it cannot be', () => {
    const sparse = 'dropout.kind=sparse';
    expect(() => override(preset, [sparse, 'objective.importance_samples=5'])).toThrow(
      /^dropout\.kind is sparse; expected none with 5 importance samples/,
    );
    expect(() => override(preset, [sparse, 'optimiser.kind=adamw', 'optimiser.weight_decay=0.1'])).toThrow(
      /^optimiser\.weight_decay is 0\.1; expected 0 with dropout\.kind sparse/,
    );
  });

  test('a missing field is refused by name', () => {
    const { optimiser: _, ...rest } = preset;
    expect(() => parseConfiguration(rest)).toThrow(/optimiser/);
    for (const json of [null, [], 'text', 3]) expect(() => parseConfiguration(json)).toThrow();
  });

  test('--set changes one field, nested ones too, and leaves the preset alone', () => {
    const changed = override(preset, [
      'batch_size=64',
      'encoder.hidden=[5,6]',
      'optimiser.learning_rate=0.5',
      'name=other',
    ]);
    expect(changed).toMatchObject({
      batch_size: 64,
      encoder: { hidden: [5, 6] },
      optimiser: { learning_rate: 0.5 },
      name: 'other',
    });
    expect(preset.batch_size).toBe(128);
  });

  test.each([
    'batch_size',
    '=3',
    'nope=1',
    'encoder.nope=1',
    'encoder.hidden.0.1=3',
    '__proto__.x=1',
    'constructor.name=x',
  ])('--set %s is refused', (assignment) => {
    expect(() => override(preset, [assignment])).toThrow(/--set .*: (expected key=value|no such field)/);
  });

  test('settings of a file are what the same --set would be, and leave the preset alone', () => {
    const before = structuredClone(preset);
    const settings = { batch_size: 64, encoder: { hidden: [5, 6] }, optimiser: { learning_rate: 0.5 } };
    expect(override(withSettings(preset, settings, 'a.json'), [])).toEqual(
      override(preset, ['batch_size=64', 'encoder.hidden=[5,6]', 'optimiser.learning_rate=0.5']),
    );
    expect(preset).toEqual(before);
  });

  test.each([
    ['{"nope": 1}', 'a.json: nope: no such field'],
    ['{"encoder": {"nope": 1}}', 'a.json: encoder.nope: no such field'],
    ['{"batch_size": {"nope": 1}}', 'a.json: batch_size.nope: no such field'],
    ['{"__proto__": {"x": 1}}', 'a.json: __proto__: no such field'],
    ['{"constructor": {"name": "x"}}', 'a.json: constructor: no such field'],
    ['[1]', 'a.json: expected a JSON object'],
    ['null', 'a.json: expected a JSON object'],
  ])('settings %s are refused', (json, message) => {
    expect(() => withSettings(preset, JSON.parse(json), 'a.json')).toThrow(message);
  });

  test('settings of a wrong value are refused by the field', () => {
    expect(() => override(withSettings(preset, { batch_size: 'many' }, 'a.json'), [])).toThrow(/batch_size/);
  });
});

/** Values of a schedule at steps of a run of 1,000. */
function expectAt(schedule: typeof klWeight, configuration: Configuration, values: readonly [number, number][]): void {
  for (const [step, value] of values)
    expect(schedule(configuration, step, 1000), `step ${step}`).toBeCloseTo(value, 12);
}

describe('schedules', () => {
  test('the KL weight rises in a straight line to 1 and stays', () => {
    const configuration = { ...preset, kl_warm_up_fraction: 0.25 };
    expect(klWeight(configuration, 0, 4000)).toBe(0);
    expect(klWeight(configuration, 500, 4000)).toBe(0.5);
    expect(klWeight(configuration, 1000, 4000)).toBe(1);
    expect(klWeight(configuration, 3999, 4000)).toBe(1);
    expect(klWeight({ ...preset, kl_warm_up_fraction: 0 }, 0, 100)).toBe(1);
  });

  test('the KL weight rises to beta, anew in every cycle', () => {
    const configuration = override(preset, ['kl_warm_up_fraction=0.5', 'objective.beta=4', 'objective.kl_cycles=2']);
    expectAt(klWeight, configuration, [
      [0, 0],
      [125, 2],
      [250, 4],
      [499, 4],
      [500, 0],
      [625, 2],
      [999, 4],
    ]);
  });

  test('the weight of the KL of weights rises to its own and stays', () => {
    const dropout = { weight: 2, warm_up_fraction: 0.5 };
    expect([0, 250, 500, 999].map((step) => weightsKlWeight(dropout, step, 1000))).toEqual([0, 1, 2, 2]);
    expect(weightsKlWeight({ weight: 1, warm_up_fraction: 0 }, 0, 1000)).toBe(1);
  });

  test('the linear schedule falls in a straight line', () => {
    const configuration = override(preset, [
      'learning_rate_schedule.kind=linear',
      'learning_rate_schedule.final_fraction=0',
    ]);
    expect([0, 500, 1000].map((step) => learningRateFactor(configuration, step, 1001))).toEqual([1, 0.5, 0]);
  });

  test('the capacity rises in a straight line and stays', () => {
    const configuration = override(preset, ['objective.capacity=25', 'objective.capacity_fraction=0.2']);
    expectAt(capacity, configuration, [
      [0, 0],
      [100, 12.5],
      [200, 25],
      [999, 25],
    ]);
  });

  test('the cosine schedule falls from the learning rate to its final fraction without ever rising', () => {
    const configuration = override(preset, [
      'learning_rate_schedule.kind=cosine',
      'learning_rate_schedule.final_fraction=0.1',
    ]);
    expect(learningRateFactor(configuration, 0, 1000)).toBeCloseTo(1, 12);
    expect(learningRateFactor(configuration, 999, 1000)).toBeCloseTo(0.1, 12);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 998 }), (step) => {
        expect(learningRateFactor(configuration, step + 1, 1000)).toBeLessThanOrEqual(
          learningRateFactor(configuration, step, 1000),
        );
      }),
    );
    expect(learningRateFactor(configuration, 0, 1)).toBe(1);
  });

  test('the step schedule falls by its factor after each milestone', () => {
    const configuration = override(preset, [
      'learning_rate_schedule.kind=step',
      'learning_rate_schedule.milestones=[0.5,0.75]',
      'learning_rate_schedule.factor=0.1',
    ]);
    expectAt(learningRateFactor, configuration, [
      [0, 1],
      [499, 1],
      [500, 0.1],
      [749, 0.1],
      [750, 0.01],
      [999, 0.01],
    ]);
  });

  test('a warm-up rises in a straight line, from a first step that moves', () => {
    const configuration = override(preset, [
      'learning_rate_schedule.kind=constant',
      'learning_rate_schedule.warm_up_fraction=0.1',
    ]);
    expectAt(learningRateFactor, configuration, [
      [0, 0.01],
      [49, 0.5],
      [99, 1],
      [999, 1],
    ]);
  });

  test.each([
    [['optimiser.momentum=0.9'], /^optimiser.momentum is 0.9; expected 0, since adam has moments of its own/],
    [
      ['optimiser.weight_decay=0.1'],
      /^optimiser.weight_decay is 0.1; expected 0 for adam, or optimiser.kind adamw or sgd/,
    ],
    [
      ['learning_rate_schedule.kind=step'],
      /^learning_rate_schedule.milestones has 0 entries; expected at least one for step/,
    ],
    [
      ['learning_rate_schedule.milestones=[0.5]'],
      /^learning_rate_schedule.milestones has 1 entries; expected none for cosine/,
    ],
    [['objective.capacity=5', 'objective.free_bits=1'], /^objective.capacity and objective.free_bits are both given/],
    [
      ['objective.importance_samples=5', 'objective.free_bits=1'],
      /^objective.free_bits is given; expected 0 with 5 importance samples/,
    ],
    [
      ['objective.importance_samples=5', 'objective.beta=2'],
      /^objective.beta is 2 and objective.covariance none; expected 1 and none/,
    ],
    [
      ['objective.doubly_reparameterised=true'],
      /^objective.doubly_reparameterised is true; expected false, or more than one/,
    ],
    [['objective.total_correlation=5', 'batch_size=1'], /^batch_size is 1; expected at least 2/],
    [['encoder.hidden=[]'], /^encoder has neither convolutions nor hidden layers/],
  ])('%j: fields that do not suit each other are refused', (assignments, message) => {
    expect(() => override(preset, assignments)).toThrow(message);
  });

  test('configurations of older models, without the newer fields, are completed', () => {
    const { binarisation: _, weight_average_decay: __, objective: ____, ...older } = preset;
    const { convolutions: ___, ...encoder } = preset.encoder;
    expect(parseConfiguration({ ...older, encoder })).toEqual(preset);
  });

  test('the constant schedule is constant', () => {
    const configuration = override(preset, ['learning_rate_schedule.kind=constant']);
    for (const step of [0, 17, 999]) expect(learningRateFactor(configuration, step, 1000)).toBe(1);
  });
});
