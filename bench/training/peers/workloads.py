"""What every peer trains: the networks, their parameters and initial values, the data and the schedule.

Parameters are lists of float32 arrays in the order of ``parameters(job)``:

  MLP (a)    encoder.0, encoder.mean, encoder.log_variance, decoder.0, decoder.output
  conv (b)   encoder.0-2, encoder.mean, encoder.log_variance, decoder.0 (dense), decoder.1-2, decoder.output
  conv (c)   encoder.0-3, encoder.mean, encoder.log_variance, decoder.0 (dense), decoder.1-3, decoder.output

each a weight and then its bias. A dense weight is [inputs, outputs], a convolution's [outputs, inputs, 4, 4], a
transposed convolution's [inputs, outputs, 4, 4]; feature maps are flattened in the order channels, rows, columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

KERNEL, STRIDE, PADDING = 4, 2, 1
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
LOG_VARIANCE_LIMIT = 10.0
FINAL_RATE = 0.01
# Means nearer to 0 or 1 would start with logits beyond ±7.
MEAN_MARGIN = 1e-3

HIDDEN = {"a": 400}
CHANNELS = {"b": (32, 64, 128), "c": (32, 64, 128, 256)}
# Those whose pixels are drawn anew at every step, 1 with probability byte / 255; else they are byte / 255.
BINARISED = ("a", "b")

Kind = Literal["dense", "conv", "transposed"]


@dataclass(frozen=True)
class Job:
    """The first line that a peer receives."""

    workload: str
    threads: int
    train: str
    count: int
    shape: tuple[int, int, int]
    validation: str
    validation_count: int
    seed: int
    batch_size: int
    total_steps: int
    learning_rate: float
    gradient_norm_limit: float
    latent_size: int

    @staticmethod
    def parse(line: dict) -> Job:
        """A job from its JSON, whose data stand in an object of their own."""
        rest = {name: value for name, value in line.items() if name != "data"}
        data = {**line["data"], "shape": tuple(line["data"]["shape"])}
        if rest["workload"] not in (*HIDDEN, *CHANNELS):
            raise ValueError(f"workload is {rest['workload']!r}; expected a, b or c")
        return Job(**rest, **data)

    @property
    def binarised(self) -> bool:
        """Whether pixels are drawn from their intensities."""
        return self.workload in BINARISED

    @property
    def is_mlp(self) -> bool:
        """Whether the network takes flat pixels."""
        return self.workload in HIDDEN


@dataclass(frozen=True)
class Parameter:
    """A trainable array."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    # Of a dense layer between a feature map and a vector: the map's shape, and the axis along which it is flattened.
    flattened: tuple[tuple[int, int, int], int] | None = None


def map_sizes(job: Job) -> list[int]:
    """Side of the square feature maps from the input on, for instance 28, 14, 7, 3."""
    sizes = [job.shape[1]]
    for _ in CHANNELS[job.workload]:
        sizes.append((sizes[-1] + 2 * PADDING - KERNEL) // STRIDE + 1)
    return sizes


def parameters(job: Job) -> list[Parameter]:
    """All parameters in the order of the module's description."""
    latent, pixels = job.latent_size, math.prod(job.shape)
    if job.is_mlp:
        hidden = HIDDEN[job.workload]
        return [
            *_layer("encoder.0", "dense", pixels, hidden),
            *_layer("encoder.mean", "dense", hidden, latent),
            *_layer("encoder.log_variance", "dense", hidden, latent),
            *_layer("decoder.0", "dense", latent, hidden),
            *_layer("decoder.output", "dense", hidden, pixels),
        ]
    channels = [job.shape[0], *CHANNELS[job.workload]]
    last = (channels[-1], map_sizes(job)[-1], map_sizes(job)[-1])
    features = math.prod(last)
    found = []
    for i in range(len(channels) - 1):
        found += _layer(f"encoder.{i}", "conv", channels[i], channels[i + 1])
    for head in ("mean", "log_variance"):
        weight, bias = _layer(f"encoder.{head}", "dense", features, latent)
        found += [Parameter(weight.name, "dense", weight.shape, (last, 0)), bias]
    weight, bias = _layer("decoder.0", "dense", latent, features)
    found += [Parameter(p.name, "dense", p.shape, (last, len(p.shape) - 1)) for p in (weight, bias)]
    for i in range(1, len(channels)):
        name = "decoder.output" if i == len(channels) - 1 else f"decoder.{i}"
        found += _layer(name, "transposed", channels[-i], channels[-i - 1])
    return found


def _layer(name: str, kind: Kind, inputs: int, outputs: int) -> tuple[Parameter, Parameter]:
    """Weight and bias of a layer."""
    window = () if kind == "dense" else (KERNEL, KERNEL)
    shape = (outputs, inputs, *window) if kind == "conv" else (inputs, outputs, *window)
    return Parameter(f"{name}.weight", kind, shape), Parameter(f"{name}.bias", kind, (outputs,))


def initial_weights(job: Job, pixels: np.ndarray) -> list[np.ndarray]:
    """Glorot's uniform weights, zero biases, and an output bias that starts at the mean of the data."""
    random = np.random.default_rng(job.seed)
    weights = []
    for parameter in parameters(job):
        shape = parameter.shape
        if parameter.name == "decoder.output.bias":
            weights.append(_output_bias(job, pixels))
        elif len(shape) == 1:
            weights.append(np.zeros(shape, np.float32))
        else:
            bound = math.sqrt(6 / ((shape[0] + shape[1]) * math.prod(shape[2:])))
            weights.append(random.uniform(-bound, bound, shape).astype(np.float32))
    return weights


def _output_bias(job: Job, pixels: np.ndarray) -> np.ndarray:
    """Logit of the mean: of every pixel for the MLP, of every channel for the convolutional networks."""
    total = np.zeros(pixels.shape[1:], np.float64)
    for start in range(0, len(pixels), 1024):
        total += pixels[start : start + 1024].sum(axis=0, dtype=np.float64)
    mean = total / (255 * len(pixels))
    mean = mean.reshape(-1) if job.is_mlp else mean.mean(axis=(1, 2))
    mean = np.clip(mean, MEAN_MARGIN, 1 - MEAN_MARGIN)
    return np.log(mean / (1 - mean)).astype(np.float32)


def split(job: Job, flat: np.ndarray) -> list[np.ndarray]:
    """Cuts one array, all parameters one after the other, into parameters."""
    shapes = [parameter.shape for parameter in parameters(job)]
    expected = sum(math.prod(shape) for shape in shapes)
    if flat.size != expected:
        raise ValueError(f"the file of weights has {flat.size} numbers; expected {expected}")
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes)]


def channels_last(parameter: Parameter, values: np.ndarray) -> np.ndarray:
    """A parameter for networks whose feature maps are rows, columns, channels: both kinds of kernels turn alike."""
    if values.ndim == 4:
        return np.ascontiguousarray(values.transpose(2, 3, 1, 0))
    if parameter.flattened is None:
        return values
    (channels, height, width), axis = parameter.flattened
    order = np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
    return np.ascontiguousarray(np.take(values, order, axis))


def read_pixels(path: str, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Bytes [count, channels, rows, columns] of a file."""
    values = np.fromfile(path, np.uint8)
    if values.size != count * math.prod(shape):
        raise ValueError(f"{path} has {values.size} bytes; expected {count} x {shape}")
    return values.reshape(count, *shape)


def learning_rates(job: Job, start: int, steps: int) -> np.ndarray:
    """Cosine from the first rate to its hundredth (Loshchilov & Hutter, 2017), for `steps` steps from `start`."""
    done = np.minimum(1, np.arange(start, start + steps) / max(1, job.total_steps - 1))
    factors = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + np.cos(np.pi * done))
    return (job.learning_rate * factors).astype(np.float32)


class Batches:
    """Indices of minibatches without replacement; the rest of an epoch that fills no batch is left out."""

    def __init__(self, job: Job) -> None:
        self._count, self._size = job.count, job.batch_size
        self._random = np.random.default_rng(job.seed)
        self._queue = np.empty((0, self._size), np.int64)

    def take(self, steps: int) -> np.ndarray:
        """The next batches: [steps, batch size]."""
        while len(self._queue) < steps:
            order = self._random.permutation(self._count)
            whole = order[: self._count // self._size * self._size].reshape(-1, self._size)
            self._queue = np.concatenate([self._queue, whole])
        taken, self._queue = self._queue[:steps], self._queue[steps:]
        return taken
