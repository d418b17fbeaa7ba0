import { RandomSource } from '@elbo/models';
import { gradients } from '@elbo/training/autodiff/gradients';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { boundWeights } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { float32, type TensorData } from '@elbo/training/onnx/tensor';
import type { Objective } from '@elbo/training/vae/objective';

export interface TaughtParameter {
  readonly loss: string;
  readonly parameter: string;
  /** Of the loss by the parameter's element whose gradient is the largest. */
  readonly gradient: number;
  /** The same by a central difference. */
  readonly difference: number;
}

/** Of a parameter's element: a float32 loss of some hundreds is exact to 1e-5. */
const STEP = 5e-3;
const BATCH = 12;

/**
 * Each loss's gradient by each parameter that it teaches, beside a finite difference of the same loss. Examples are drawn
 * between 0 and 1; the weights are initial ones, with biases moved off 0.
 */
export async function taughtParameters(
  objective: Objective,
  shape: readonly number[],
  scheduled: Readonly<Record<string, number>>,
): Promise<TaughtParameter[]> {
  const graph = new Graph('losses');
  const x = graph.input('x', 'float32', [BATCH, ...shape]);
  const noise = Object.entries(objective.noise).map(
    ([name, of]) => [name, graph.input(`noise/${name}`, 'float32', [BATCH, ...of])] as const,
  );
  const tensors = objective.parameters.map((parameter) => graph.input(parameter.name, 'float32', parameter.shape));
  const { losses } = objective.build(
    {
      x,
      noise: Object.fromEntries(noise),
      scheduled: Object.fromEntries(
        Object.entries(scheduled).map(([name, value]) => [name, graph.constant(float32([value], []))]),
      ),
    },
    boundWeights(objective.parameters, tensors),
  );
  const places = objective.losses.flatMap(({ name: loss, parameters }) =>
    parameters.map(({ name: parameter }) => ({ loss, parameter })),
  );
  for (const { name, parameters } of objective.losses) {
    graph.output(losses[name], `loss/${name}`);
    const slopes = gradients(
      losses[name],
      parameters.map((parameter) => tensors[objective.parameters.indexOf(parameter)]),
    );
    for (const [i, slope] of slopes.entries()) graph.output(slope, `gradient/${parameters[i].name}`);
  }

  const random = new RandomSource(8);
  const normal = (of: readonly number[]): TensorData =>
    float32(random.fillNormal(new Float32Array(of.reduce((product, d) => product * d, 1))), of);
  const feeds: Record<string, TensorData> = {
    x: float32(
      (normal([BATCH, ...shape]).data as Float32Array).map((value) => 1 / (1 + Math.exp(-2 * value))),
      [BATCH, ...shape],
    ),
    ...Object.fromEntries(
      Object.entries(objective.noise).map(([name, of]) => [`noise/${name}`, normal([BATCH, ...of])]),
    ),
    ...Object.fromEntries(
      objective.parameters.map((parameter) => {
        const values = parameter.initialise(random);
        const moved = parameter.shape.length > 1 ? values : values.map((value) => value + 0.1 * random.uniform());
        return [parameter.name, float32(moved, parameter.shape)];
      }),
    ),
  };
  const program = await new OnnxRuntimeEngine(1).compile(graph);
  try {
    const at = await program.run(feeds);
    const results: TaughtParameter[] = [];
    for (const { loss, parameter } of places) {
      const slopes = at[`gradient/${parameter}`].data as Float32Array;
      const largest = slopes.reduce((best, value, i) => (Math.abs(value) > Math.abs(slopes[best]) ? i : best), 0);
      const lossAt = async (offset: number) => {
        const { data, shape: of } = feeds[parameter];
        const values = (data as Float32Array).slice();
        values[largest] += offset;
        const outputs = await program.run({ ...feeds, [parameter]: float32(values, of) });
        return Number(outputs[`loss/${loss}`].data[0]);
      };
      const difference = ((await lossAt(STEP)) - (await lossAt(-STEP))) / (2 * STEP);
      results.push({ loss, parameter, gradient: slopes[largest], difference });
    }
    return results;
  } finally {
    await program.release();
  }
}
