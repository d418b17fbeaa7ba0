import { GraphError } from './errors.js';
import type { GraphProto, SparseTensorProto, TensorProto } from './protobuf.js';
import { DATA_TYPES, elementCount, type TensorData } from './tensor.js';

// Initialisers that are mostly zeros, as ONNX's `sparse_initializer`. ONNX Runtime makes dense tensors of them when it
// loads a graph, so that a file is smaller and runs no slower.

/** A value with its place, and a value of a dense tensor. */
const [SPARSE_BYTES, DENSE_BYTES] = [12, 4];
/** A smaller tensor is not worth another form. */
const SMALLEST = 1024;

/** A float32 tensor without its zeros; undefined where the dense form takes no more bytes. */
export function sparseTensor(name: string, { dtype, shape, data }: TensorData): SparseTensorProto | undefined {
  if (dtype !== 'float32' || data.length < SMALLEST) return undefined;
  const places: number[] = [];
  for (const [place, value] of (data as Float32Array).entries()) {
    // −0 would come back as 0.
    if (!Object.is(value, 0)) places.push(place);
    if (places.length * SPARSE_BYTES >= data.length * DENSE_BYTES) return undefined;
  }
  // A tensor without values would have no element that tells its type to every reader.
  if (places.length === 0) places.push(0);
  const values = Float32Array.from(places, (place) => data[place] as number);
  const indices = BigInt64Array.from(places, BigInt);
  const tensor = (tensorName: string, dataType: number, { buffer }: { buffer: ArrayBufferLike }): TensorProto => ({
    name: tensorName,
    dataType,
    dims: [places.length],
    rawData: new Uint8Array(buffer),
  });
  return {
    values: tensor(name, DATA_TYPES.float32.code, values),
    indices: tensor('', DATA_TYPES.int64.code, indices),
    dims: [...shape],
  };
}

/**
 * The dense tensor.
 * @throws {GraphError} where values or places are of another type or number, or lie outside the tensor
 */
export function denseTensor({ values, indices, dims }: SparseTensorProto): TensorProto {
  // Absent parts of a damaged file come as null.
  const name = values?.name ?? '';
  const refuse = (reason: string): never => {
    throw new GraphError(`${name}: ${reason}`);
  };
  if (values?.dataType !== DATA_TYPES.float32.code) refuse('its values are not float32');
  if (indices?.dataType !== DATA_TYPES.int64.code) refuse('its places are not int64');
  if (dims.some((length) => !(Number.isSafeInteger(length) && length >= 0))) refuse('it has no shape');
  const count = elementCount(values.dims);
  const size = elementCount(dims);
  if (!(count <= size && size <= MOST_ELEMENTS)) refuse(`${count} values do not fit [${dims.join(', ')}]`);
  if (
    values.rawData.byteLength !== count * 4 ||
    indices.rawData.byteLength !== count * 8 ||
    indices.dims.length !== 1
  ) {
    refuse(`its values and places do not fill [${values.dims.join(', ')}]`);
  }
  const dense = new Uint8Array(size * 4);
  const places = new DataView(indices.rawData.buffer, indices.rawData.byteOffset, indices.rawData.byteLength);
  for (let i = 0; i < count; i++) {
    const place = places.getBigInt64(8 * i, true);
    if (place < 0n || place >= BigInt(size)) refuse(`a value stands at ${place} of ${size}`);
    dense.set(values.rawData.subarray(4 * i, 4 * i + 4), 4 * Number(place));
  }
  return { name, dataType: values.dataType, dims, rawData: dense };
}

/** The initialisers of a graph, those that are written without their zeros too. */
export function allInitialisers({ initializer, sparseInitializer }: GraphProto): TensorProto[] {
  return [...initializer, ...(sparseInitializer ?? []).map(denseTensor)];
}

/** A few bytes must not ask for all memory. */
const MOST_ELEMENTS = 1 << 29;
