import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import { type Graph, type Node, subgraphsOf } from '../../onnx/graph.js';
import { isStatic, type Tensor, type TensorData } from '../../onnx/tensor.js';
import { EngineError } from '../engine-error.js';
import { Dependencies, type Differentiation, subgraphOf } from './dependencies.js';
import { Call, detached, type Operator } from './operators/call.js';
import { operatorsOf } from './operators.js';
import { Frame, Recording, type Scope } from './scope.js';
import { orderTape } from './tape.js';
import { isTensor, numbersOf, type Tf, toTensor, toTensorData, type Value } from './values.js';

/** Their float32 results let no gradient through in Elbo's rules; tfjs would stop at some with an error. */
const WITHOUT_GRADIENT: ReadonlySet<string> = new Set(['Cast', 'Sign', 'Floor', 'Ceil', 'Round', 'OneHot']);
const CONTROL_FLOW: ReadonlySet<string> = new Set(['Loop', 'If']);

/**
 * Computes a graph by operators of tfjs, value by value from its outputs back. Where it meets a gradient it lets tfjs
 * differentiate the loss, and hands the forward values of that to whoever else needs them.
 */
export class Interpreter {
  readonly #tf: Tf;
  readonly #graph: Graph;
  readonly #dependencies: Dependencies;
  readonly #needed: ReadonlySet<Tensor>;
  readonly #operators: ReadonlyMap<string, Operator>;
  readonly #constants: ReadonlyMap<Tensor, Value>;
  readonly #onlyGathered: ReadonlySet<Tensor>;

  /** @throws {EngineError} naming an operator that this engine does not have */
  constructor(tf: Tf, graph: Graph) {
    this.#tf = tf;
    this.#graph = graph;
    this.#dependencies = new Dependencies(graph);
    const { tensors, nodes } = this.#dependencies.neededFor(graph);
    this.#needed = tensors;
    this.#operators = new Map(Object.entries(operatorsOf(tf)));
    for (const { operator } of nodes) {
      if (!this.#operators.has(operator) && !CONTROL_FLOW.has(operator)) throw unknownOperator(operator);
    }
    this.#constants = new Map(
      [...this.#needed].flatMap((tensor) =>
        tensor.constant === undefined ? [] : [[tensor, this.#kept(tensor.constant)]],
      ),
    );
    this.#onlyGathered = onlyGathered(graph);
  }

  /**
   * @param feeds a value for every input of the graph
   * @param names of the outputs that are wanted; all where left out
   */
  run(feeds: ReadonlyMap<Tensor, TensorData>, names?: readonly string[]): Record<string, TensorData> {
    const wanted = this.#graph.outputs.filter(({ name }) => names?.includes(name) ?? true);
    const outputs: Record<string, TensorData> = {};
    this.#tf.tidy(() => {
      const frame = new Frame(this.#graph);
      for (const [input, data] of feeds) {
        const staysOnHost = isHostType(data) || this.#onlyGathered.has(input);
        frame.values.set(input, staysOnHost ? data : toTensor(this.#tf, data));
      }
      this.#evaluate(wanted, frame);
      for (const output of wanted) {
        outputs[output.name] = toTensorData(this.#valueOf(output, frame), output.dtype);
      }
    });
    return outputs;
  }

  /** Frees the constants. */
  release(): void {
    for (const value of this.#constants.values()) if (isTensor(value)) value.dispose();
  }

  #kept(constant: TensorData): Value {
    return isHostType(constant) ? constant : this.#tf.keep(toTensor(this.#tf, constant));
  }

  /** Leaves the values of tensors in a scope, and those of what they depend on. */
  #evaluate(targets: readonly Tensor[], scope: Scope): void {
    const waiting = [...targets];
    for (let tensor = waiting.at(-1); tensor !== undefined; tensor = waiting.at(-1)) {
      if (this.#find(tensor, scope) !== undefined) {
        waiting.pop();
        continue;
      }
      const provider = this.#providerOf(tensor, scope);
      if (provider !== undefined) {
        waiting.push(provider.record.gradients[0]);
        continue;
      }
      const step = this.#stepFor(tensor, scope);
      const missing = step.reads.filter((read) => this.#find(read, scope) === undefined);
      waiting.push(...missing);
      if (missing.length > 0) continue;
      step.run();
      this.#valueOf(tensor, scope);
    }
  }

  /** What leaves the value of a tensor in a scope, and the values that this takes. */
  #stepFor(tensor: Tensor, scope: Scope): { reads: readonly Tensor[]; run: () => void } {
    const differentiation = this.#dependencies.differentiationOf(tensor, scope.graph);
    if (differentiation !== undefined) {
      if (scope instanceof Frame) scope.begun.add(differentiation);
      const { leaves, frontier } = differentiation;
      return { reads: [...leaves, ...frontier], run: () => this.#differentiate(differentiation, scope) };
    }
    const node = this.#dependencies.producerOf(tensor);
    if (node === undefined) throw new EngineError(`${tensor.name} has no value`);
    return { reads: this.#dependencies.readBy(node), run: () => this.#compute(node, scope) };
  }

  /** The differentiation that a value comes out of, unless that has begun and so needs this value itself. */
  #providerOf(tensor: Tensor, scope: Scope): Differentiation | undefined {
    if (!(scope instanceof Frame)) return undefined;
    const provider = this.#dependencies.planOf(scope.graph).providers.get(tensor);
    return provider === undefined || scope.begun.has(provider) ? undefined : provider;
  }

  #find(tensor: Tensor, scope: Scope): Value | undefined {
    if (tensor.constant !== undefined) return this.#constants.get(tensor);
    for (let place: Scope | undefined = scope; place !== undefined; place = place.below) {
      const value = place.values.get(tensor);
      if (value !== undefined || place.owns(tensor)) return value;
    }
    return undefined;
  }

  #valueOf(tensor: Tensor, scope: Scope): Value {
    const value = this.#find(tensor, scope);
    if (value === undefined) throw new EngineError(`${tensor.name} has no value`);
    return value;
  }

  #compute(node: Node, scope: Scope): void {
    const tf = this.#tf;
    tf.tidy(() => {
      const computed: TfTensor[] = [];
      for (const [i, result] of this.#apply(node, scope).entries()) {
        const output = node.outputs[i];
        if (result === undefined) continue;
        scope.values.set(output, result);
        if (!isTensor(result)) continue;
        const value = scope.isRecorded ? this.#asRecorded(node, output, result, scope) : result;
        scope.values.set(output, value);
        computed.push(value);
      }
      return computed;
    });
  }

  /** A value as a loss is to be differentiated through it. */
  #asRecorded(node: Node, output: Tensor, value: TfTensor, scope: Scope): TfTensor {
    const passes = stopsGradient(node, output) ? detached(this.#tf, value) : value;
    return offsetsOf(output, scope).reduce((sum, offset) => this.#tf.add(sum, offset), passes);
  }

  #apply(node: Node, scope: Scope): readonly (Value | undefined)[] {
    switch (node.operator) {
      case 'Loop':
        return this.#loop(node, scope);
      case 'If':
        return this.#branch(node, scope);
    }
    const operator = this.#operators.get(node.operator);
    if (operator === undefined) throw unknownOperator(node.operator);
    const inputs = node.inputs.map((input) => (input === undefined ? undefined : this.#valueOf(input, scope)));
    try {
      const result = operator(new Call(this.#tf, node, inputs, (tensor) => this.#needed.has(tensor)));
      return Array.isArray(result) ? result : [result];
    } catch (error) {
      throw engineError(node.operator, error);
    }
  }

  /** ONNX's If: the branch that the condition picks. */
  #branch(node: Node, scope: Scope): Value[] {
    const [condition] = this.#inputsOf(node, scope);
    const isTrue = condition !== undefined && numbersOf(condition)[0] !== 0;
    const frame = new Frame(subgraphOf(node, isTrue ? 'then_branch' : 'else_branch'), scope);
    this.#evaluate(frame.graph.outputs, frame);
    return frame.graph.outputs.map((output) => this.#valueOf(output, frame));
  }

  /** ONNX's Loop: states go from one iteration to the next, the other outputs are stacked. */
  #loop(node: Node, scope: Scope): Value[] {
    const tf = this.#tf;
    const [tripCount, condition] = this.#inputsOf(node, scope);
    const initial = this.#inputsOf(node, scope)
      .slice(2)
      .filter((state) => state !== undefined);
    const body = subgraphOf(node, 'body');
    const trips = tripCount === undefined ? Number.POSITIVE_INFINITY : numbersOf(tripCount)[0];
    const stacks = body.outputs.slice(1 + initial.length).map((): TfTensor[] => []);
    let goesOn = condition === undefined || numbersOf(condition)[0] !== 0;
    let states = initial.map((state) => tf.clone(toTensor(tf, state)));
    for (let i = 0; i < trips && goesOn; i++) {
      const results = tf.tidy(() => {
        const frame = new Frame(body, scope);
        const values: Value[] = [
          { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(i)) },
          { dtype: 'bool', shape: [], data: Uint8Array.of(1) },
          ...states,
        ];
        for (const [j, input] of body.inputs.entries()) frame.values.set(input, values[j]);
        this.#evaluate(body.outputs, frame);
        const [next, ...outputs] = body.outputs.map((output) => this.#valueOf(output, frame));
        goesOn = numbersOf(next)[0] !== 0;
        // Copies of the handles, so that each can be disposed of on its own.
        return outputs.map((value) => tf.clone(toTensor(tf, value)));
      });
      tf.dispose(states);
      states = results.slice(0, initial.length);
      for (const [j, stack] of stacks.entries()) stack.push(results[initial.length + j]);
    }
    const collected = stacks.map((stack, j) => stacked(tf, stack, body.outputs[1 + initial.length + j]));
    tf.dispose(stacks.flat());
    return [...states, ...collected];
  }

  #inputsOf(node: Node, scope: Scope): (Value | undefined)[] {
    return node.inputs.map((input) => (input === undefined ? undefined : this.#valueOf(input, scope)));
  }

  /** Leaves the gradients of a loss in the scope, and those forward values that others need. */
  #differentiate(differentiation: Differentiation, scope: Scope): void {
    const tf = this.#tf;
    const { record, leaves, inner } = differentiation;
    const forward = new Map<Tensor, TfTensor>();
    const loss = (variables: readonly TfTensor[]): TfTensor => {
      const recording = new Recording(differentiation, scope);
      for (const [i, leaf] of leaves.entries()) recording.values.set(leaf, variables[i]);
      for (const [i, tensor] of inner.entries()) recording.offsets.set(tensor, variables[leaves.length + i]);
      this.#evaluate([record.loss], recording);
      for (const tensor of this.#wantedOutside(differentiation, scope)) {
        const value = recording.values.get(tensor);
        if (value !== undefined && isTensor(value)) forward.set(tensor, tf.keep(tf.clone(value)));
      }
      const result = tf.clone(toTensor(tf, this.#valueOf(record.loss, recording)));
      if (differentiation.isNested) orderTape(tf);
      return result;
    };
    try {
      tf.tidy(() => {
        // Handles of their own, so that nothing before the recording is on the way from them to the loss.
        const variables = leaves.map((leaf) => tf.clone(toTensor(tf, this.#valueOf(leaf, scope))));
        // A parameter that is computed from others is varied by what is added to it.
        const offsets = inner.map((tensor) => tf.zeros(fixedShape(tensor)));
        const slopes = tf.grads((...all) => loss(all))([...variables, ...offsets]);
        const slopeOf = new Map([...leaves, ...inner].map((parameter, i) => [parameter, slopes[i]]));
        const results = new Map<Tensor, TfTensor>();
        for (const [i, parameter] of record.parameters.entries()) {
          const slope = slopeOf.get(parameter);
          if (slope !== undefined) results.set(record.gradients[i], tf.clone(slope));
        }
        for (const [tensor, value] of forward) results.set(tensor, tf.clone(value));
        for (const [tensor, value] of results) scope.values.set(tensor, value);
        return [...results.values()];
      });
    } catch (error) {
      throw engineError(`the gradient of ${record.loss.name}`, error);
    } finally {
      tf.dispose([...forward.values()]);
    }
  }

  #wantedOutside({ path }: Differentiation, scope: Scope): Tensor[] {
    if (!(scope instanceof Frame)) return [];
    const { providers } = this.#dependencies.planOf(scope.graph);
    return [...providers.keys()].filter((tensor) => path.has(tensor) && !scope.values.has(tensor));
  }
}

/** tfjs has no tensors of these. */
function isHostType({ dtype }: TensorData): boolean {
  return dtype === 'uint8' || dtype === 'int64';
}

/** Tensors that are read by Gather alone: one part at a time becomes a tensor of tfjs, not the whole. */
function onlyGathered(graph: Graph): ReadonlySet<Tensor> {
  const gathered = new Set<Tensor>();
  const others = new Set<Tensor>();
  const visit = ({ nodes }: Graph) => {
    for (const node of nodes) {
      for (const [i, input] of node.inputs.entries()) {
        if (input !== undefined) (node.operator === 'Gather' && i === 0 ? gathered : others).add(input);
      }
      for (const inner of subgraphsOf(node)) visit(inner);
    }
  };
  visit(graph);
  return new Set([...gathered].filter((tensor) => !others.has(tensor)));
}

function stopsGradient({ operator }: Node, output: Tensor): boolean {
  return output.dtype !== 'float32' || WITHOUT_GRADIENT.has(operator) || output.graph.stopsGradient(output);
}

/** What recordings add to a value, in order to differentiate by it. */
function offsetsOf(tensor: Tensor, scope: Scope): TfTensor[] {
  const offsets: TfTensor[] = [];
  for (let place: Scope | undefined = scope; place !== undefined; place = place.below) {
    const offset = place instanceof Recording ? place.offsets.get(tensor) : undefined;
    if (offset !== undefined) offsets.push(offset);
  }
  return offsets;
}

function fixedShape({ name, shape }: Tensor): number[] {
  if (!isStatic(shape)) throw new EngineError(`${name} must have a fixed shape to be differentiated by`);
  return [...shape];
}

/** What a loop collected, along a new first axis. */
function stacked(tf: Tf, values: TfTensor[], { dtype, shape }: Tensor): TfTensor {
  if (values.length > 0) return tf.stack(values);
  const lengths = shape.map((length) => (typeof length === 'number' ? length : 0));
  return tf.zeros([0, ...lengths], dtype === 'float32' || dtype === 'bool' ? dtype : 'int32');
}

function unknownOperator(operator: string): EngineError {
  return new EngineError(`the tfjs engine does not have the operator ${operator}`);
}

function engineError(what: string, error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
  return new EngineError(`${what}: ${reason}`, { cause: error });
}
