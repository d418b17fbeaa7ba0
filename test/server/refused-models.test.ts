import { mkdir, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CALIBRATION_FILE, type Condition, GRAPH_FILES, type ManifestDraft } from '@elbo/models';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureModel, fixtureModel, GREY_INPUT, VECTOR_INPUT, writeFixture } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;

const change = (draft: Partial<ManifestDraft>) => (original: ManifestDraft) => ({ ...original, ...draft });

async function flipByte(path: string): Promise<void> {
  const content = await readFile(path);
  const at = Math.floor(content.length / 2);
  const file = await open(path, 'r+');
  await file.write(Buffer.of((content[at] ?? 0) ^ 1), 0, 1, at);
  await file.close();
}

const CONDITION: Condition = { classes: 3, frequencies: [0.5, 0.25, 0.25] };

/** A manifest with one condition and graphs with another, or with none. */
async function writeConditions(name: string, inManifest?: Condition, inGraphs?: Condition): Promise<string> {
  const { draft } = fixtureModel({ name, input: GREY_INPUT, ...(inManifest && { condition: inManifest }) });
  const graphs = fixtureModel({ name, input: GREY_INPUT, ...(inGraphs && { condition: inGraphs }) });
  return writeFixture(store.directory, { ...graphs, draft });
}

async function writeWith(name: string, spoil: (model: FixtureModel) => void, input = GREY_INPUT): Promise<string> {
  const model = fixtureModel({ name, input });
  spoil(model);
  return writeFixture(store.directory, model);
}

/** Every bad model, how it is made, and what the log must say. */
const BAD: Record<string, { make: (name: string) => Promise<unknown>; says: string }> = {
  'flipped-graph': {
    make: async (name) => flipByte(join(await writeWith(name, () => {}), GRAPH_FILES.decoder)),
    says: 'decoder.onnx: SHA-256 is',
  },
  'flipped-calibration': {
    make: async (name) => flipByte(join(await writeWith(name, () => {}), CALIBRATION_FILE)),
    says: 'calibration.f32: SHA-256 is',
  },
  truncated: {
    make: async (name) => {
      const path = join(await writeWith(name, () => {}), GRAPH_FILES.encoder);
      await writeFile(path, (await readFile(path)).subarray(0, 100));
    },
    says: 'encoder.onnx: has 100 bytes, the manifest says',
  },
  empty: {
    make: async (name) => writeFile(join(await writeWith(name, () => {}), GRAPH_FILES.scorer), ''),
    says: 'scorer.onnx: has 0 bytes, the manifest says',
  },
  // Where the tests run as root, a file's mode keeps nobody from reading it.
  'folder-for-file': {
    make: async (name) => {
      const path = join(await writeWith(name, () => {}), GRAPH_FILES.decoder);
      await rm(path);
      await mkdir(path);
    },
    says: 'decoder.onnx: listed in the manifest but not readable',
  },
  'link-to-nothing': {
    make: async (name) => {
      const path = join(await writeWith(name, () => {}), GRAPH_FILES.decoder);
      await rm(path);
      await symlink('nowhere', path);
    },
    says: 'decoder.onnx: listed in the manifest but not readable',
  },
  'swapped-files': {
    make: async (name) => {
      const directory = await writeWith(name, () => {});
      const [encoder, decoder, other] = [GRAPH_FILES.encoder, GRAPH_FILES.decoder, 'other'].map((file) =>
        join(directory, file),
      );
      await rename(encoder, other);
      await rename(decoder, encoder);
      await rename(other, decoder);
    },
    says: 'encoder.onnx: ',
  },
  'half-written-manifest': {
    make: async (name) => {
      const path = join(await writeWith(name, () => {}), 'manifest.json');
      const content = await readFile(path);
      await writeFile(path, content.subarray(0, content.length / 2));
    },
    says: 'manifest.json: not JSON',
  },
  // Cut short before its hash was taken: only ONNX Runtime can tell.
  ...Object.fromEntries(
    [0.1, 0.5, 0.9, 0.99].map((part) => [
      `cut-before-hash-${part * 100}`,
      {
        make: (name: string) =>
          writeWith(name, ({ files }) => {
            const whole = files.get(GRAPH_FILES.encoder) ?? new Uint8Array(1);
            files.set(GRAPH_FILES.encoder, whole.subarray(0, Math.floor(whole.length * part)));
          }),
        says: 'encoder.onnx',
      },
    ]),
  ),
  'calibration-not-sorted': {
    make: (name) =>
      writeWith(name, ({ files }) =>
        files.set(CALIBRATION_FILE, Buffer.from(files.get(CALIBRATION_FILE) ?? []).reverse()),
      ),
    says: 'calibration.f32: scores must be finite and in ascending order',
  },
  'missing-file': {
    make: async (name) => rm(join(await writeWith(name, () => {}), GRAPH_FILES.scorer)),
    says: 'scorer.onnx: listed in the manifest but not readable',
  },
  'other-numbers': {
    make: (name) =>
      writeFixture(
        store.directory,
        fixtureModel({ name, input: GREY_INPUT, change: change({ golden: { mean: [1, 2, 3, 4], score: [1] } }) }),
      ),
    says: 'encoder.onnx: mean of the golden input is',
  },
  'not-json': {
    make: async (name) => writeFile(join(await writeWith(name, () => {}), 'manifest.json'), '{'),
    says: 'manifest.json: not JSON',
  },
  'not-onnx': {
    make: (name) => writeWith(name, ({ files }) => files.set(GRAPH_FILES.encoder, Buffer.from('no graph'))),
    says: 'encoder.onnx: Failed to load model',
  },
  'swapped-graphs': {
    make: (name) =>
      writeWith(name, ({ files }) =>
        files.set(GRAPH_FILES.encoder, files.get(GRAPH_FILES.decoder) ?? new Uint8Array(1)),
      ),
    says: 'encoder.onnx has no input x (float32 [N, 1, 8, 8]), only z',
  },
  'other-shape': {
    make: (name) =>
      writeWith(name, ({ files }) => {
        for (const [file, bytes] of fixtureModel({ name, input: VECTOR_INPUT }).files) files.set(file, bytes);
      }),
    says: 'encoder.onnx: input x is float32 [N, 5]; the manifest asks for float32 [N, 1, 8, 8]',
  },
  'other-latent': {
    make: (name) =>
      writeWith(name, ({ files }) => {
        for (const [file, bytes] of fixtureModel({ name, input: GREY_INPUT, latentSize: 7 }).files)
          files.set(file, bytes);
      }),
    says: 'encoder.onnx: output mean is float32 [N, 7]; the manifest asks for float32 [N, 4]',
  },
  'missing-component': {
    make: (name) =>
      writeFixture(
        store.directory,
        fixtureModel({ name, input: GREY_INPUT, change: change({ scorer: { components: ['volume'] } }) }),
      ),
    says: 'scorer.onnx has no output volume (float32 [N]), only score, reconstruction, norm, error_map',
  },
  'missing-label': {
    make: (name) => writeConditions(name, CONDITION),
    says: 'encoder.onnx has no input label (float32 [N, 3]), only x',
  },
  'missing-label-of-decoder': {
    make: (name) => {
      const conditional = fixtureModel({ name, input: GREY_INPUT, condition: CONDITION });
      const plain = fixtureModel({ name, input: GREY_INPUT }).files.get(GRAPH_FILES.decoder);
      if (plain !== undefined) conditional.files.set(GRAPH_FILES.decoder, plain);
      return writeFixture(store.directory, conditional);
    },
    says: 'decoder.onnx has no input label (float32 [N, 3]), only z',
  },
  'other-classes': {
    make: (name) => writeConditions(name, CONDITION, { classes: 2, frequencies: [0.5, 0.5] }),
    says: 'encoder.onnx: input label is float32 [N, 2]; the manifest asks for float32 [N, 3]',
  },
  'label-without-condition': {
    make: (name) => writeConditions(name, undefined, CONDITION),
    says: 'encoder.onnx has the inputs x, label; the manifest asks for x alone',
  },
  'frequencies-beyond-1': {
    make: async (name) => {
      const path = join(await writeConditions(name, CONDITION, CONDITION), 'manifest.json');
      const manifest = JSON.parse(await readFile(path, 'utf8'));
      await writeFile(path, JSON.stringify({ ...manifest, condition: { ...CONDITION, frequencies: [1, 1, 1] } }));
    },
    says: 'manifest: condition.frequencies has the sum 3; expected 1',
  },
  'other-name': {
    make: async (name) => {
      const directory = await writeWith('original', () => {});
      await rename(dirname(directory), join(dirname(dirname(directory)), name));
      expect(basename(directory)).toBe('1');
    },
    says: 'manifest.json says that this is original/1',
  },
};

beforeAll(async () => {
  store = await fixtureStore();
  for (const [name, { make }] of Object.entries(BAD)) await make(name);
  await rm(join(await writeWith('half-copied', () => {}), 'manifest.json'));
  // The latest version is bad, an older one good.
  await flipByte(join(await writeWith('grey', () => {}), GRAPH_FILES.encoder));
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

describe('a model version that is still being copied', () => {
  it('is none until its manifest is there', async () => {
    expect(running.log.filter((line) => line.includes('half-copied'))).toEqual([]);
    expect((await request(running.url).post('/sample?model=half-copied')).status).toBe(404);
  });
});

describe('a model version that cannot be trusted', () => {
  it.each(Object.entries(BAD))('is refused with one line that says why: %s', (name, { says }) => {
    const lines = running.log.filter((line) => line.startsWith(`refused ${name}/1: `));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(says);
    expect(lines[0]).toContain(join(store.directory, name, '1'));
    expect(lines[0]).not.toContain('\n');
  });

  it('leaves the others to serve', async () => {
    const { body } = await request(running.url).get('/health/ready');
    expect(body.models).toEqual(['grey/1', 'grey/2', 'rgb/1', 'table/1']);
    const sample = await request(running.url).post('/sample?count=1&model=grey');
    expect(sample.body.version).toBe('2');
    expect((await request(running.url).post('/sample?model=flipped-graph')).status).toBe(404);
  });
});
