import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RandomSource, readModel } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training';
import { calibrate } from '@elbo/training/offline/calibrate';
import request from 'supertest';
import { beforeAll, describe, expect, test } from 'vitest';
import { startService } from '../server/support/running-service.js';
import { elbo } from '../support/elbo.js';
import { encodeNpy } from '../support/npy.js';
import { suiteDirectory } from '../support/temporary-directory.js';

const shipped = fileURLToPath(new URL('../../models/shapes', import.meta.url));
const engine = new OnnxRuntimeEngine(1);
const newDirectory = suiteDirectory();
let store: string;
let version: string;
let file: string;
const COUNT = 400;
const SIZE = 32;

beforeAll(async () => {
  store = newDirectory();
  version = join(store, 'shapes', '1');
  cpSync(join(shipped, '1'), version, { recursive: true });
  // Dark squares: to the old thresholds, most are anomalies.
  const random = new RandomSource(7);
  const values = new Uint8Array(COUNT * SIZE * SIZE);
  for (let i = 0; i < COUNT; i++) {
    const [x, y, side, level] = [
      random.integer(20),
      random.integer(20),
      4 + random.integer(8),
      30 + random.integer(40),
    ];
    for (let row = y; row < y + side; row++)
      values.fill(level, (i * SIZE + row) * SIZE + x, (i * SIZE + row) * SIZE + x + side);
  }
  file = join(store, 'dark.npy');
  writeFileSync(file, encodeNpy({ type: 'u1', shape: [COUNT, 32, 32], values }));
});

describe('elbo calibrate', () => {
  test('writes the next version: the same graphs, whose thresholds have their rates on the new data', async () => {
    const { code, stdout } = await elbo(['calibrate', version, file, '--threads', '1', '--json']);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe(`${join(store, 'shapes', '2')}: calibrated on ${COUNT} rows`);
    const { directory, before } = JSON.parse(lines.at(-1) ?? '');
    expect(before.anomalousShare).toBeGreaterThan(0.5);
    expect(before.distance).toBeGreaterThan(0.5);
    const asBefore = await elbo(['score', version, file, '--threads', '1']);
    expect(before.anomalousShare).toBe((asBefore.stdout.match(/"is_anomaly":true/g)?.length ?? 0) / COUNT);

    const [old, recalibrated] = [await readModel(version), await readModel(directory)];
    for (const graph of ['encoder.onnx', 'decoder.onnx', 'scorer.onnx', 'preview.png']) {
      expect(recalibrated.manifest.files[graph]).toEqual(old.manifest.files[graph]);
    }
    const { calibration } = recalibrated.manifest;
    expect(calibration).toMatchObject({ size: COUNT, recalibrated_from: 'shapes/1' });
    expect(calibration.dataset).toContain('dark.npy');
    // 1 / (n + 1) is the smallest p-value: 0.1 % cannot be stated of 400 rows.
    expect(calibration.thresholds.map(({ false_positive_rate: rate }) => rate)).toEqual([0.01, 0.05]);

    const scored = await elbo(['score', directory, file, '--threads', '1', '--fpr', '0.05']);
    const pValues = scored.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).p_value);
    // Of the n scores themselves: each has its own rank.
    expect(pValues.sort((a, b) => a - b).slice(0, 3)).toEqual([2, 3, 4].map((rank) => rank / (COUNT + 1)));
    expect(scored.stderr).toMatch(/^400 scored, 19 called anomalous/);
  });

  test('and the service serves it', async () => {
    const result = await calibrate({ directory: version, store, files: [file], engine });
    const server = await startService(store);
    try {
      const { body } = await request(server.url)
        .post(`/anomaly-score?version=${result.manifest.version}`)
        .send({ inputs: [Array.from({ length: 32 }, () => new Array<number>(32).fill(0))] })
        .expect(200);
      expect(body.threshold).toBe(result.manifest.calibration.thresholds[0].threshold);
    } finally {
      await server.close();
    }
  });

  test.each([
    ['too few rows', 19, [32, 32], /few\.npy: there are 19 rows; expected at least 20/],
    ['rows of another shape', 30, [8, 8], /few\.npy: an example is of shape \[1, 8, 8\]; expected \[1, 32, 32\]/],
  ])('refuses %s, and writes nothing', async (_, count, shape, expected) => {
    const directory = newDirectory();
    const few = join(directory, 'few.npy');
    const size = count * shape[0] * shape[1];
    writeFileSync(few, encodeNpy({ type: 'u1', shape: [count, ...shape], values: new Uint8Array(size) }));
    const out = join(directory, 'store');
    const { code, stderr } = await elbo(['calibrate', version, few, '--out', out]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(expected)]);
    await expect(readModel(join(out, 'shapes', '1'))).rejects.toThrow('no such model version');
  });
});
