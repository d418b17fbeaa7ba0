import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  type AggregatePosteriorRecord,
  CALIBRATION_FILE,
  encodeCalibration,
  encodeMixture,
  listModels,
  type ManifestDraft,
  parseManifest,
  readManifest,
  readModel,
  recordMetrics,
  writeModel,
} from '@elbo/models';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { draft } from './support/manifest-draft.js';

const scores = Float32Array.of(3, 1, 2);

/** Of two dimensions. */
function aggregate(changes: Partial<AggregatePosteriorRecord> = {}): AggregatePosteriorRecord {
  return {
    split: 'test',
    examples: 5,
    mean: [0, 0.1],
    standard_deviation_of_means: [0.9, 0.01],
    variance: [1, 1],
    strongest_correlations: [
      { dimension: 1, correlation: 0.5 },
      { dimension: 0, correlation: 0.5 },
    ],
    covariance: [
      [1, 0.5],
      [0.5, 1],
    ],
    ...changes,
  };
}

function replaceByPipe(path: string): void {
  rmSync(path);
  execFileSync('mkfifo', [path]);
}

const files = () =>
  new Map<string, Uint8Array>([
    ['encoder.onnx', Buffer.from('the encoder')],
    ['decoder.onnx', Buffer.from('the decoder')],
    ['scorer.onnx', Buffer.from('the scorer')],
    [CALIBRATION_FILE, encodeCalibration(scores)],
  ]);

describe('model store', () => {
  test('what is written reads back, and versions count up', async () => {
    const store = temporaryDirectory();
    const first = await writeModel(store, draft(), files());
    const second = await writeModel(store, draft(), files());
    expect([first.manifest.version, second.manifest.version]).toEqual(['1', '2']);
    const loaded = await readModel(first.directory);
    expect(loaded.manifest).toEqual(first.manifest);
    expect(Buffer.from(loaded.graphs.encoder).toString()).toBe('the encoder');
    expect(Array.from(loaded.calibrationScores)).toEqual([1, 2, 3]);
    expect(readdirSync(join(store, 'demo')).sort()).toEqual(['1', '2']);
  });

  test('a mixture that samples are drawn from stands in a file of its own', async () => {
    const mixture = {
      components: 1,
      dimensions: 2,
      weights: Float32Array.of(1),
      means: Float32Array.of(0.5, -1),
      deviations: Float32Array.of(1, 2),
    };
    const prior = { kind: 'vamp', components: 1, dimensions: 2 };
    const all = files().set('prior.f32', encodeMixture(mixture));
    const { directory } = await writeModel(temporaryDirectory(), draft({ prior }), all);
    expect((await readModel(directory)).prior).toEqual({ latentSize: 2, mixture });

    const write = (changed: ManifestDraft['prior'], contents: Map<string, Uint8Array>) =>
      writeModel(temporaryDirectory(), draft({ prior: changed }), contents);
    await expect(write(prior, files())).rejects.toThrow(/prior.kind is vamp; expected .* the file prior.f32/);
    await expect(write({ kind: 'vamp' }, all)).rejects.toThrow(/prior.kind is vamp; expected .* components/);
    await expect(write({ ...prior, kind: 'standard-normal' }, all)).rejects.toThrow(/prior.kind is standard-normal/);
    await expect(write({ ...prior, dimensions: 3 }, all)).rejects.toThrow(
      /prior.dimensions is 3; expected at most latent.size = 2/,
    );
    const { directory: short } = await write({ ...prior, components: 2 }, all);
    await expect(readModel(short)).rejects.toThrow(/the prior has 20 bytes; expected 40/);
  });

  test('the classes of a conditional model come back, and what contradicts itself is refused', async () => {
    const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25], names: ['none', '1', 'many'] };
    const write = (changed: ManifestDraft['condition']) =>
      writeModel(temporaryDirectory(), draft({ condition: changed }), files());
    const { directory } = await write(condition);
    expect((await readModel(directory)).manifest.condition).toEqual(condition);

    const wrong: [Partial<typeof condition>, RegExp][] = [
      [{ classes: 1, frequencies: [1], names: ['none'] }, /manifest: condition.classes/],
      [{ classes: 257 }, /manifest: condition.classes/],
      [{ classes: 2.5 }, /manifest: condition.classes/],
      [{ frequencies: [0.5, 0.5] }, /condition.frequencies has 2 numbers; expected condition.classes = 3/],
      [{ frequencies: [0.5, 0.25, 0.3] }, /condition.frequencies has the sum 1.05; expected 1/],
      [{ frequencies: [1.5, -0.25, -0.25] }, /manifest: condition.frequencies/],
      [{ names: ['none', 'one'] }, /condition.names has 2 names; expected condition.classes = 3/],
      [{ names: ['none', 'one', 'none'] }, /condition.names has "none" twice/],
      [{ names: ['none', 'one', ''] }, /manifest: condition.names/],
      [{ names: ['none', '2', 'one'] }, /calls class 1 "2", which is the number of another class/],
    ];
    for (const [change, message] of wrong) {
      await expect(write({ ...condition, ...change })).rejects.toThrow(message);
    }
  });

  test('versions are listed by name and number, and nothing else is', async () => {
    const store = temporaryDirectory();
    for (let i = 0; i < 11; i++) await writeModel(store, draft(), files());
    await writeModel(store, draft({ name: 'another' }), files());
    mkdirSync(join(store, 'src', '1'), { recursive: true });
    mkdirSync(join(store, 'demo', 'latest'));
    mkdirSync(join(store, '.checkpoints'));
    const listed = (await listModels(store)).map(({ name, version }) => `${name}/${version}`);
    expect(listed).toEqual(['another/1', ...Array.from({ length: 11 }, (_, i) => `demo/${i + 1}`)]);
    await expect(listModels(join(store, 'nowhere'))).rejects.toThrow(/not a readable model store directory/);
  });

  test('a link to a version counts as one', async () => {
    const [store, elsewhere] = [temporaryDirectory(), temporaryDirectory()];
    const { directory } = await writeModel(elsewhere, draft(), files());
    mkdirSync(join(store, 'demo'));
    symlinkSync(directory, join(store, 'demo', '1'));
    symlinkSync(join(elsewhere, 'nowhere'), join(store, 'demo', '2'));
    expect((await listModels(store)).map(({ version }) => version)).toEqual(['1']);
  });

  test('a manifest that lists a file outside its directory is refused', async () => {
    const { manifest } = await writeModel(temporaryDirectory(), draft(), files());
    const outside = { ...manifest.files, '../../secret': { sha256: '0'.repeat(64), bytes: 1 } };
    expect(() => parseManifest({ ...manifest, files: outside })).toThrow(/manifest: files/);
  });

  test('writers at the same time each get a version of their own, and leave nothing unfinished', async () => {
    const store = temporaryDirectory();
    const written = await Promise.all(Array.from({ length: 8 }, () => writeModel(store, draft(), files())));
    expect(written.map(({ manifest }) => Number(manifest.version)).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    for (const { directory, manifest } of written) expect((await readModel(directory)).manifest).toEqual(manifest);
    expect(readdirSync(join(store, 'demo')).filter((entry) => entry.startsWith('.'))).toEqual([]);
  });

  test('one flipped bit in any file is refused, and the file named', async () => {
    const { directory } = await writeModel(temporaryDirectory(), draft(), files());
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...files().keys()),
        fc.nat(),
        fc.integer({ min: 0, max: 7 }),
        async (file, at, bit) => {
          const path = join(directory, file);
          const whole = readFileSync(path);
          const altered = Buffer.from(whole);
          altered[at % altered.length] ^= 1 << bit;
          writeFileSync(path, altered);
          await expect(readModel(directory)).rejects.toThrow(`${path}: SHA-256 is`);
          writeFileSync(path, whole);
        },
      ),
      { numRuns: 50 },
    );
    await expect(readModel(directory)).resolves.toBeDefined();
  });

  test.each([
    ['a truncated file', (path: string) => truncateSync(path, 3), /decoder.onnx: has 3 bytes, the manifest says 11/],
    [
      'a file that grew',
      (path: string) => appendFileSync(path, 'x'),
      /decoder.onnx: has 12 bytes, the manifest says 11/,
    ],
    ['a pipe', (path: string) => replaceByPipe(path), /decoder.onnx: listed in the manifest but not readable/],
    ['a missing file', (path: string) => rmSync(path), /decoder.onnx: listed in the manifest but not readable/],
  ])('%s is refused', async (_, damage, message) => {
    const { directory } = await writeModel(temporaryDirectory(), draft(), files());
    damage(join(directory, 'decoder.onnx'));
    await expect(readModel(directory)).rejects.toThrow(message);
  });

  test.each([
    ['', /manifest.json: not JSON/],
    ['{"schema_version": 1,', /manifest.json: not JSON/],
    ['null', /manifest: the document/],
    ['{}', /manifest: the document must have required properties/],
    ['{"schema_version": 2}', /manifest/],
  ])('the manifest %j is refused', async (text, message) => {
    const { directory } = await writeModel(temporaryDirectory(), draft(), files());
    writeFileSync(join(directory, 'manifest.json'), text);
    await expect(readModel(directory)).rejects.toThrow(message);
  });

  test.each([
    ['name', '../up', /manifest: name must match pattern/],
    ['input.colour', 'rgb', /input.colour must be grey for 1 channel/],
    ['input.value_range', [1, 0], /value_range must be \[low, high\]/],
    ['latent.kl_per_dimension', [1], /kl_per_dimension must have latent.size = 2 numbers/],
    ['latent.traversal_ranges', [[0, 1]], /latent.traversal_ranges must have latent.size = 2 ranges/],
    [
      'latent.traversal_ranges',
      [
        [0, 1],
        [1, 0],
      ],
      /latent.traversal_ranges must be \[low, high\]/,
    ],
    [
      'latent.aggregate_posterior',
      aggregate({ mean: [0] }),
      /aggregate_posterior.mean must have latent.size = 2 numbers/,
    ],
    ['latent.aggregate_posterior', aggregate({ variance: [1, -1] }), /aggregate_posterior.variance.1 must be >= 0/],
    [
      'latent.aggregate_posterior',
      aggregate({ covariance: [[1, 0], [0]] }),
      /covariance must have latent.size = 2 rows and/,
    ],
    [
      'latent.aggregate_posterior',
      aggregate({
        strongest_correlations: [
          { dimension: 0, correlation: 0.5 },
          { dimension: 0, correlation: 0.5 },
        ],
      }),
      /strongest_correlations must name another dimension/,
    ],
    ['calibration.size', 0, /calibration.size must be >= 1/],
    ['calibration.default_false_positive_rate', 0.25, /thresholds must hold/],
    ['files', {}, /files must list encoder.onnx/],
    ['files', { '../../etc/passwd': { sha256: '0'.repeat(64), bytes: 1 } }, /manifest: files/],
  ])('a manifest whose %s is %j is refused by name', async (path, value, message) => {
    const { manifest } = await writeModel(temporaryDirectory(), draft(), files());
    const json = structuredClone(manifest) as Record<string, unknown>;
    const keys = path.split('.');
    const parent = keys.slice(0, -1).reduce((at, key) => at[key] as Record<string, unknown>, json);
    parent[keys.at(-1) ?? ''] = value;
    expect(() => parseManifest(json)).toThrow(message);
  });

  test('a draft that breaks the schema writes nothing', async () => {
    const store = temporaryDirectory();
    await expect(writeModel(store, draft({ name: 'Not A Name' }), files())).rejects.toThrow(/manifest: name/);
    const incomplete = files();
    incomplete.delete('scorer.onnx');
    await expect(writeModel(store, draft(), incomplete)).rejects.toThrow(/files must list scorer.onnx/);
    expect(readdirSync(store)).toEqual([]);
  });

  test('calibration scores that are out of order or of another number are refused', async () => {
    const unsorted = files().set(CALIBRATION_FILE, Buffer.from(Float32Array.of(2, 1, 3).buffer));
    const { directory } = await writeModel(temporaryDirectory(), draft(), unsorted);
    await expect(readModel(directory)).rejects.toThrow(/calibration.f32: scores must be finite and in ascending order/);
    const few = files().set(CALIBRATION_FILE, encodeCalibration(Float32Array.of(1)));
    const other = await writeModel(temporaryDirectory(), draft(), few);
    await expect(readModel(other.directory)).rejects.toThrow(
      /calibration.f32: has 4 bytes; expected 4 for each of calibration.size = 3/,
    );
  });

  test('calibration scores that are not finite, and thresholds that the scores do not give, are refused', async () => {
    const endless = files().set(CALIBRATION_FILE, encodeCalibration(Float32Array.of(1, 2, Number.POSITIVE_INFINITY)));
    const { directory } = await writeModel(temporaryDirectory(), draft(), endless);
    await expect(readModel(directory)).rejects.toThrow(/calibration.f32: scores must be finite/);
    const { calibration } = draft();
    const thresholds = [{ false_positive_rate: 0.5, threshold: 2.5 }];
    const other = await writeModel(
      temporaryDirectory(),
      draft({ calibration: { ...calibration, thresholds } }),
      files(),
    );
    await expect(readModel(other.directory)).rejects.toThrow(
      /calibration.thresholds says 2.5 at the false-positive rate 0.5; calibration.f32 gives 2/,
    );
    const tooSmall = { default_false_positive_rate: 0.1, thresholds: [{ false_positive_rate: 0.1, threshold: 3 }] };
    const third = await writeModel(
      temporaryDirectory(),
      draft({ calibration: { ...calibration, ...tooSmall } }),
      files(),
    );
    await expect(readModel(third.directory)).rejects.toThrow(/false_positive_rate 0.1 cannot be stated from 3/);
  });

  test.skipIf(process.getuid?.() === 0)(
    'directories that may not be read do not hide the others (needs a user other than root)',
    async () => {
      const store = temporaryDirectory();
      await writeModel(store, draft(), files());
      const locked = await writeModel(store, draft(), files());
      await writeModel(store, draft({ name: 'secret' }), files());
      chmodSync(locked.directory, 0);
      chmodSync(join(store, 'secret'), 0);
      const unreadable: string[] = [];
      const listed = await listModels(store, ({ message }) => unreadable.push(message));
      chmodSync(locked.directory, 0o700);
      chmodSync(join(store, 'secret'), 0o700);
      expect(listed.map(({ name, version }) => `${name}/${version}`)).toEqual(['demo/1', 'demo/2']);
      expect(unreadable).toEqual([expect.stringContaining(join(store, 'secret'))]);
    },
  );

  test('metrics are added to a manifest and replace those of the same name', async () => {
    const { directory } = await writeModel(temporaryDirectory(), draft(), files());
    await recordMetrics(directory, {
      a: { value: 1, split: 'test', examples: 5 },
      b: { value: 2, split: 'test', examples: 5 },
    });
    await recordMetrics(directory, { b: { value: 3, split: 'test', examples: 5 } });
    const before = await readManifest(directory);
    expect([before.metrics.a.value, before.metrics.b.value]).toEqual([1, 3]);
    const latent = {
      aggregate_posterior: aggregate(),
      traversal_ranges: [
        [-2, 2],
        [0, 0],
      ] as [number, number][],
    };
    await recordMetrics(directory, {}, latent);
    const after = await readManifest(directory);
    expect(after).toEqual({ ...before, latent: { ...before.latent, ...latent } });
    await expect(readModel(directory)).resolves.toBeDefined();
    expect(readdirSync(directory).filter((file) => file.startsWith('.'))).toEqual([]);
  });
});
