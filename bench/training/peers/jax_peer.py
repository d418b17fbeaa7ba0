"""The peer in JAX, compiled by XLA."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from workloads import (
    BETA1,
    BETA2,
    EPSILON,
    KERNEL,
    LOG_VARIANCE_LIMIT,
    PADDING,
    STRIDE,
    Job,
    channels_last,
    map_sizes,
    parameters,
)

# A scan over the steps of a turn, a call a step, or a scan with XLA's own convolutions.
VARIANTS = ("scan", "step", "native")
LAYOUT = ("NHWC", "HWIO", "NHWC")

Weights = list[jax.Array]


def create(job: Job, variant: str | None, pixels: np.ndarray) -> JaxPeer:
    """The peer; the faster variant where none is named."""
    return JaxPeer(job, variant or "scan", pixels)


class JaxPeer:
    """Parameters, Adam's moments, the random key, and the data set as bytes; feature maps have their channels last."""

    def __init__(self, job: Job, variant: str, pixels: np.ndarray) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant is {variant!r}; expected one of {', '.join(VARIANTS)}")
        self.library = f"jax {jax.__version__}"
        self.variant = variant
        self._job = job
        self._parameters = parameters(job)
        if not job.is_mlp:
            self._sizes = map_sizes(job)
        native = (native_convolution, native_transposed_convolution)
        self._convolutions = native if variant == "native" else (convolution, transposed_convolution)
        self._pixels = jnp.asarray(pixels.reshape(job.count, -1) if job.is_mlp else pixels.transpose(0, 2, 3, 1))
        # XLA's own generator: JAX's default, Threefry, costs a CPU several times as much.
        key = jax.random.key(job.seed, impl="unsafe_rbg")
        self._state: Any = ([], [], [], key)
        self._step = jax.jit(self._train_step, donate_argnums=0)
        self._scan = jax.jit(self._train_steps, donate_argnums=0)
        self._negative_elbo = jax.jit(lambda *inputs: sum(self._terms(*inputs)))
        self._gradients = jax.jit(jax.value_and_grad(self._mean_terms, has_aux=True))

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Writes all parameters and forgets Adam's moments."""
        values = self._arrays(weights)
        zeros = [jnp.zeros_like(value) for value in values]
        self._state = (values, zeros, [jnp.zeros_like(value) for value in values], self._state[3])

    def train(self, batches: np.ndarray, rates: np.ndarray, steps_before: int) -> float:
        """Steps on the batches; their mean loss."""
        numbers = np.arange(steps_before + 1, steps_before + len(batches) + 1, dtype=np.float32)
        inputs = (batches.astype(np.int32), rates, numbers)
        if self.variant != "step":
            self._state, losses = self._scan(self._state, self._pixels, inputs)
        else:
            losses = []
            for step in zip(*inputs):
                self._state, loss = self._step(self._state, self._pixels, step)
                losses.append(loss)
        return float(np.mean(jax.device_get(losses)))

    def negative_elbo(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Of each example, in nats."""
        return np.asarray(self._negative_elbo(self._state[0], self._input(x), noise))

    def check(self, weights: list[np.ndarray], x: np.ndarray, noise: np.ndarray) -> dict[str, float]:
        """Loss, its terms and the gradients' norm for given weights."""
        (loss, (reconstruction, kl)), gradients = self._gradients(self._arrays(weights), self._input(x), noise)
        named = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "gradient_norm": global_norm(gradients)}
        return {name: float(value) for name, value in named.items()}

    def _arrays(self, weights: list[np.ndarray]) -> Weights:
        return [jnp.asarray(channels_last(p, values)) for p, values in zip(self._parameters, weights)]

    def _input(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1) if self._job.is_mlp else x.transpose(0, 2, 3, 1)

    def _train_steps(self, state: Any, pixels: jax.Array, inputs: Any) -> tuple[Any, jax.Array]:
        return lax.scan(lambda carry, step: self._train_step(carry, pixels, step), state, inputs)

    def _train_step(self, state: Any, pixels: jax.Array, step: Any) -> tuple[Any, jax.Array]:
        """One step of Adam (Kingma & Ba, 2015) on one minibatch: the next state, and the loss."""
        weights, first, second, key = state
        batch, rate, number = step
        key, pixel_key, noise_key = jax.random.split(key, 3)
        x = pixels[batch].astype(jnp.float32) / 255
        if self._job.binarised:
            x = (jax.random.uniform(pixel_key, x.shape) < x).astype(jnp.float32)
        noise = jax.random.normal(noise_key, (self._job.batch_size, self._job.latent_size))
        (loss, _), gradients = jax.value_and_grad(self._mean_terms, has_aux=True)(weights, x, noise)
        scale = jnp.minimum(1, self._job.gradient_norm_limit / global_norm(gradients))
        first = [BETA1 * m + (1 - BETA1) * scale * g for m, g in zip(first, gradients)]
        second = [BETA2 * v + (1 - BETA2) * jnp.square(scale * g) for v, g in zip(second, gradients)]
        first_scale, second_scale = 1 / (1 - BETA1**number), 1 / (1 - BETA2**number)
        weights = [
            w - rate * first_scale * m / (jnp.sqrt(second_scale * v) + EPSILON)
            for w, m, v in zip(weights, first, second)
        ]
        return (weights, first, second, key), loss

    def _mean_terms(self, w: Weights, x: jax.Array, noise: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """The loss, and its terms."""
        reconstruction, kl = (term.mean() for term in self._terms(w, x, noise))
        return reconstruction + kl, (reconstruction, kl)

    def _terms(self, w: Weights, x: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Reconstruction and KL of each example, in nats."""
        network = self._mlp if self._job.is_mlp else self._convolutional
        mean, log_variance, logits = network(w, x, noise)
        axes = tuple(range(1, x.ndim))
        reconstruction = (jax.nn.softplus(logits) - x * logits).sum(axes)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1).sum(1)
        return reconstruction, kl

    @staticmethod
    def _mlp(w: Weights, x: jax.Array, noise: jax.Array) -> tuple[jax.Array, ...]:
        """Mean and log-variance of the posterior, and logits."""
        mean, log_variance, z = sample(jax.nn.relu(x @ w[0] + w[1]), w[2:6], noise)
        return mean, log_variance, jax.nn.relu(z @ w[6] + w[7]) @ w[8] + w[9]

    def _convolutional(self, w: Weights, x: jax.Array, noise: jax.Array) -> tuple[jax.Array, ...]:
        """Mean and log-variance of the posterior, and logits."""
        convolve, convolve_back = self._convolutions
        sizes = self._sizes
        layers = len(sizes) - 1
        signal = x
        for i in range(layers):
            signal = jax.nn.relu(convolve(signal, w[2 * i], w[2 * i + 1]))
        rest = w[2 * layers :]
        mean, log_variance, z = sample(signal.reshape(len(x), -1), rest[:4], noise)
        signal = jax.nn.relu(z @ rest[4] + rest[5]).reshape(signal.shape)
        for i in range(layers):
            signal = convolve_back(signal, rest[6 + 2 * i], rest[7 + 2 * i], sizes[-2 - i])
            if i < layers - 1:
                signal = jax.nn.relu(signal)
        return mean, log_variance, signal


def native_convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """XLA's convolution; the kernel is [rows, columns, inputs, outputs]."""
    window, padding = (STRIDE, STRIDE), [(PADDING, PADDING)] * 2
    return lax.conv_general_dilated(x, kernel, window, padding, dimension_numbers=LAYOUT) + bias


def native_transposed_convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array, size: int) -> jax.Array:
    """XLA's, to maps of size x size; the kernel is [rows, columns, outputs, inputs]."""
    before = KERNEL - 1 - PADDING
    after = size - STRIDE * (x.shape[1] - 1) - 1 - before + KERNEL - 1
    padding, window = [(before, after)] * 2, (STRIDE, STRIDE)
    return lax.conv_transpose(x, kernel, window, padding, dimension_numbers=LAYOUT, transpose_kernel=True) + bias


def convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """The same as one matrix product, whose gradients are products too: XLA has no fast kernel on a CPU for those of a
    strided convolution. Blocks of 2 x 2 pixels become channels, which leaves a kernel of 2 x 2 blocks and stride 1."""
    examples, size, _, channels = x.shape
    out = (size + 2 * PADDING - KERNEL) // STRIDE + 1
    end = STRIDE * (out + 1) - size - PADDING
    x = lax.pad(x, 0.0, [(0, 0, 0), (PADDING, end, 0), (PADDING, end, 0), (0, 0, 0)])
    x = x.reshape(examples, out + 1, 2, out + 1, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(examples, out + 1, out + 1, 4 * channels)
    windows = jnp.concatenate([x[:, i : i + out, j : j + out] for i in (0, 1) for j in (0, 1)], axis=3)
    return windows @ by_blocks(kernel) + bias


def transposed_convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array, size: int) -> jax.Array:
    """The same as one matrix product, by the way back through the blocks."""
    examples, out, _, _ = x.shape
    channels = kernel.shape[2]
    windows = jnp.split(x @ by_blocks(kernel).T, 4, axis=3)
    corners = [(i, j) for i in (0, 1) for j in (0, 1)]
    pads = [[(0, 0, 0), (i, 1 - i, 0), (j, 1 - j, 0), (0, 0, 0)] for i, j in corners]
    x = sum(lax.pad(window, 0.0, pad) for window, pad in zip(windows, pads))
    x = x.reshape(examples, out + 1, out + 1, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(examples, 2 * (out + 1), 2 * (out + 1), channels)
    return x[:, PADDING : PADDING + size, PADDING : PADDING + size] + bias


def by_blocks(kernel: jax.Array) -> jax.Array:
    """A kernel [4, 4, C, O] as a matrix [16 C, O] whose rows stand in the order of the windows' blocks."""
    *_, inputs, outputs = kernel.shape
    return kernel.reshape(2, 2, 2, 2, inputs, outputs).transpose(0, 2, 1, 3, 4, 5).reshape(16 * inputs, outputs)


def sample(features: jax.Array, heads: Weights, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, log-variance, and z."""
    mean = features @ heads[0] + heads[1]
    log_variance = jnp.clip(features @ heads[2] + heads[3], -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
    return mean, log_variance, mean + jnp.exp(0.5 * log_variance) * noise


def global_norm(gradients: Weights) -> jax.Array:
    """Euclidean norm of all gradients together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))
