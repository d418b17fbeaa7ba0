"""The peer in JAX: a compiled step, or a compiled scan over all steps of a turn."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from workloads import (
    BETA1,
    BETA2,
    EPSILON,
    LOG_VARIANCE_LIMIT,
    PADDING,
    STRIDE,
    Job,
    channels_last,
    map_sizes,
    parameters,
)

VARIANTS = ("scan", "step")

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
        if self.variant == "scan":
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
        sizes = self._sizes
        layers = len(sizes) - 1
        signal = x
        for i in range(layers):
            signal = jax.nn.relu(convolution(signal, w[2 * i]) + w[2 * i + 1])
        rest = w[2 * layers :]
        mean, log_variance, z = sample(signal.reshape(len(x), -1), rest[:4], noise)
        signal = jax.nn.relu(z @ rest[4] + rest[5]).reshape(signal.shape)
        for i in range(layers):
            signal = transposed_convolution(signal, rest[6 + 2 * i], sizes[-2 - i]) + rest[7 + 2 * i]
            if i < layers - 1:
                signal = jax.nn.relu(signal)
        return mean, log_variance, signal


convolution = partial(
    lax.conv_general_dilated,
    window_strides=(STRIDE, STRIDE),
    padding=[(PADDING, PADDING)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
)


def transposed_convolution(x: jax.Array, kernel: jax.Array, size: int) -> jax.Array:
    """To maps of size x size; the kernel is [rows, columns, outputs, inputs]."""
    before = kernel.shape[0] - 1 - PADDING
    after = size - (STRIDE * (x.shape[1] - 1) + 1) - before + kernel.shape[0] - 1
    return lax.conv_transpose(
        x,
        kernel,
        (STRIDE, STRIDE),
        [(before, after)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        transpose_kernel=True,
    )


def sample(features: jax.Array, heads: Weights, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, log-variance, and z."""
    mean = features @ heads[0] + heads[1]
    log_variance = jnp.clip(features @ heads[2] + heads[3], -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
    return mean, log_variance, mean + jnp.exp(0.5 * log_variance) * noise


def global_norm(gradients: Weights) -> jax.Array:
    """Euclidean norm of all gradients together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))
