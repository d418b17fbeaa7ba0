import { RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { fitInputDistribution, inputDistance } from '@elbo/training/export/input-distance';
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

async function distances(
  fitted: ReturnType<typeof fitInputDistribution>,
  values: readonly number[],
): Promise<number[]> {
  const graph = new Graph('distance');
  const x = graph.input('x', 'float32', ['N', 2]);
  const noWeights = () => {
    throw new Error('there are no weights');
  };
  graph.output(inputDistance(x, { likelihood: { present: (input: Tensor) => input } }, noWeights, fitted), 'distance');
  const program = await new OnnxRuntimeEngine(1).compile(graph);
  const { distance } = await program.run({ x: float32(Float32Array.from(values), [values.length / 2, 2]) });
  await program.release();
  return Array.from(distance.data as Float32Array);
}

describe('the distance of a row to where most lie', () => {
  test('is the Mahalanobis distance of the squashed numbers: small at the centre, larger off the correlation than along it', async () => {
    const [centre, along, across] = await distances(fitInputDistribution(rows(4000), 2), [0, 0, 2, 1.8, 2, -1.8]);
    expect(centre).toBeLessThan(0.2);
    expect(across).toBeGreaterThan(2 * along);
  });

  test('grows with the logarithm of what is far away, and is finite for the largest numbers that a model takes', async () => {
    const [near, far, farthest] = await distances(fitInputDistribution(rows(4000), 2), [100, 0, 1e4, 0, 1e12, -1e12]);
    expect(far / near).toBeGreaterThan(1.5);
    expect(far / near).toBeLessThan(2.5);
    expect(Number.isFinite(farthest)).toBe(true);
  });

  test('a fifth of the rows far away hardly changes it', async () => {
    const clean = await distances(fitInputDistribution(rows(4000), 2), [2, -1.8, 40, 40]);
    const dirty = await distances(fitInputDistribution(rows(4000, { anomalous: 0.2 }), 2), [2, -1.8, 40, 40]);
    expect(dirty[1]).toBeGreaterThan(3);
    expect(dirty[0] / clean[0]).toBeGreaterThan(0.5);
  });

  test('columns that never change, repeat another or are nearly always equal do no harm', async () => {
    const few = Float32Array.from({ length: 400 }, (_, at) => (at % 2 === 0 ? 3 : at % 40 === 1 ? 1 : 0));
    const [usual, rare, other] = await distances(fitInputDistribution(few, 2), [3, 0, 3, 1, 4, 0]);
    expect(rare).toBeGreaterThan(usual);
    expect(other).toBeGreaterThan(usual);
  });
});
