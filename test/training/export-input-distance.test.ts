import { RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { fitInputDistribution, inputComponents } from '@elbo/training/export/input-distance';
import { Graph } from '@elbo/training/onnx/graph';
import { float32, type Tensor } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';

/** Rows of two numbers: correlated normals, of which a share lies together far away. */
function rows(count: number, { anomalous = 0 } = {}): Float32Array {
  const random = new RandomSource(7);
  const normal = random.fillNormal(new Float32Array(2 * count));
  return normal.map((value, at) => {
    if (at / 2 < anomalous * count) return 40 + value;
    return at % 2 === 0 ? value : 0.9 * normal[at - 1] + 0.3 * value;
  });
}

const distributionOf = (values: Float32Array, size = 2) => fitInputDistribution(values, size, new RandomSource(1));

/** @param batch rows that the graph gets at a time */
async function componentsOf(
  fitted: ReturnType<typeof fitInputDistribution>,
  values: ArrayLike<number>,
  batch = Number.POSITIVE_INFINITY,
) {
  const size = fitted.mean.length;
  const graph = new Graph('components');
  const x = graph.input('x', 'float32', ['N', size]);
  const noWeights = () => {
    throw new Error('there are no weights');
  };
  const model = { likelihood: { present: (input: Tensor) => input } };
  for (const [name, component] of Object.entries(inputComponents(x, model, noWeights, fitted))) {
    graph.output(component, name);
  }
  const program = await new OnnxRuntimeEngine(1).compile(graph);
  const distance: number[] = [];
  const isolation: number[] = [];
  for (let at = 0; at < values.length; at += batch * size) {
    const rows = Float32Array.from(values).slice(at, at + batch * size);
    const outputs = await program.run({ x: float32(rows, [rows.length / size, size]) });
    distance.push(...(outputs.input_distance.data as Float32Array));
    isolation.push(...(outputs.isolation.data as Float32Array));
  }
  await program.release();
  return { distance, isolation };
}

const distances = async (fitted: ReturnType<typeof fitInputDistribution>, values: readonly number[]) =>
  (await componentsOf(fitted, values)).distance;

describe('the distance of a row to where most lie', () => {
  test('is the Mahalanobis distance of the squashed numbers: small at the centre, larger off the correlation than along it', async () => {
    const [centre, along, across] = await distances(distributionOf(rows(4000)), [0, 0, 2, 1.8, 2, -1.8]);
    expect(centre).toBeLessThan(0.2);
    expect(across).toBeGreaterThan(2 * along);
  });

  test('grows with the logarithm of what is far away, and is finite for the largest numbers that a model takes', async () => {
    const [near, far, farthest] = await distances(distributionOf(rows(4000)), [100, 0, 1e4, 0, 1e12, -1e12]);
    expect(far / near).toBeGreaterThan(1.5);
    expect(far / near).toBeLessThan(2.5);
    expect(Number.isFinite(farthest)).toBe(true);
  });

  test('a fifth of the rows far away hardly changes it', async () => {
    const clean = await distances(distributionOf(rows(4000)), [2, -1.8, 40, 40]);
    const dirty = await distances(distributionOf(rows(4000, { anomalous: 0.2 })), [2, -1.8, 40, 40]);
    expect(dirty[1]).toBeGreaterThan(3);
    expect(dirty[0] / clean[0]).toBeGreaterThan(0.5);
  });

  test('columns that never change, repeat another or are nearly always equal do no harm', async () => {
    const few = Float32Array.from({ length: 400 }, (_, at) => (at % 2 === 0 ? 3 : at % 40 === 1 ? 1 : 0));
    const [usual, rare, other] = await distances(distributionOf(few), [3, 0, 3, 1, 4, 0]);
    expect(rare).toBeGreaterThan(usual);
    expect(other).toBeGreaterThan(usual);
  });
});

describe('the isolation of a row', () => {
  test('is larger off the correlation of the columns than along it', async () => {
    const { isolation } = await componentsOf(distributionOf(rows(4000)), [0, 0, 2, 1.8, 2, -1.8]);
    const [centre, along, across] = isolation;
    expect(along).toBeGreaterThan(centre);
    expect(across).toBeGreaterThan(along);
  });

  test('does not depend on the units of the columns', async () => {
    const values = rows(4000);
    const inOthers = (at: ArrayLike<number>) =>
      Float32Array.from(at, (value, i) => (i % 2 === 0 ? 1000 * value : value - 7));
    const at = [0.5, 0.2, 2, -1, 4, 4];
    const { isolation } = await componentsOf(distributionOf(values), at);
    const other = await componentsOf(distributionOf(inOthers(values)), inOthers(at));
    for (const [i, value] of other.isolation.entries()) expect(value).toBeCloseTo(isolation[i], 2);
  });

  test('is the same to the bit in any batch of whole registers, as is the distance', async () => {
    const random = new RandomSource(3);
    const size = 7;
    const values = random.fillNormal(new Float32Array(300 * size));
    const fitted = distributionOf(values, size);
    const together = await componentsOf(fitted, values);
    for (const batch of [4, 8, 100]) expect(await componentsOf(fitted, values, batch)).toEqual(together);
  });
});
