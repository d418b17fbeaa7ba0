"""The peer in TensorFlow: a tf.function that loops over the steps of a turn, as a graph or compiled by XLA."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

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

# XLA turns strided convolutions into plain loops on a CPU: (b) takes nine times as long.
VARIANTS = ("graph", "xla")

EXPLICIT = [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]]


def create(job: Job, variant: str | None, pixels: np.ndarray) -> TensorFlowPeer:
    """The peer; the faster variant where none is named."""
    return TensorFlowPeer(job, variant or "graph", pixels)


class TensorFlowPeer:
    """Parameters, Adam's moments, and the data set as bytes; feature maps have their channels last."""

    def __init__(self, job: Job, variant: str, pixels: np.ndarray) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant is {variant!r}; expected one of {', '.join(VARIANTS)}")
        tf.config.threading.set_intra_op_parallelism_threads(job.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.random.set_seed(job.seed)
        self.library = f"tensorflow {tf.__version__}"
        self.variant = variant
        self._job = job
        self._parameters = parameters(job)
        if not job.is_mlp:
            self._sizes = map_sizes(job)
        self._pixels = tf.constant(pixels.reshape(job.count, -1) if job.is_mlp else pixels.transpose(0, 2, 3, 1))
        self._weights = [
            tf.Variable(channels_last(p, np.zeros(p.shape, np.float32)), name=p.name) for p in self._parameters
        ]
        self._first = [tf.Variable(tf.zeros_like(weight)) for weight in self._weights]
        self._second = [tf.Variable(tf.zeros_like(weight)) for weight in self._weights]
        self._train = tf.function(self._train_steps, jit_compile=variant == "xla")
        self._negative_elbo = tf.function(lambda x, noise: tf.add(*self._terms(x, noise)))

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Writes all parameters."""
        for parameter, weight, values in zip(self._parameters, self._weights, weights):
            weight.assign(channels_last(parameter, values))

    def train(self, batches: np.ndarray, rates: np.ndarray, steps_before: int) -> float:
        """Steps on the batches; their mean loss."""
        numbers = np.arange(steps_before + 1, steps_before + len(batches) + 1, dtype=np.float32)
        indices = tf.constant(batches, tf.int32)
        return float(self._train(self._pixels, indices, tf.constant(rates), tf.constant(numbers)))

    def negative_elbo(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Of each example, in nats."""
        return self._negative_elbo(self._input(x), tf.constant(noise)).numpy()

    def check(self, weights: list[np.ndarray], x: np.ndarray, noise: np.ndarray) -> dict[str, float]:
        """Loss, its terms and the gradients' norm for given weights."""
        kept = [weight.numpy() for weight in self._weights]
        self.set_weights(weights)
        with tf.GradientTape() as tape:
            reconstruction, kl = (tf.reduce_mean(term) for term in self._terms(self._input(x), tf.constant(noise)))
            loss = reconstruction + kl
        norm = tf.linalg.global_norm(tape.gradient(loss, self._weights))
        for weight, values in zip(self._weights, kept):
            weight.assign(values)
        named = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "gradient_norm": norm}
        return {name: float(value) for name, value in named.items()}

    def _input(self, x: np.ndarray) -> tf.Tensor:
        return tf.constant(x.reshape(len(x), -1) if self._job.is_mlp else x.transpose(0, 2, 3, 1))

    def _train_steps(self, pixels: tf.Tensor, batches: tf.Tensor, rates: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """All steps of a turn in one call; their mean loss."""
        steps = batches.shape[0]
        total = tf.constant(0.0)
        for i in tf.range(steps):
            total += self._train_step(tf.gather(pixels, batches[i]), rates[i], numbers[i])
        return total / steps

    def _train_step(self, batch: tf.Tensor, rate: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """One step of Adam (Kingma & Ba, 2015) by TensorFlow's fused kernel; the loss."""
        x = tf.cast(batch, tf.float32) / 255
        if self._job.binarised:
            x = tf.cast(tf.random.uniform(x.shape) < x, tf.float32)
        noise = tf.random.normal([self._job.batch_size, self._job.latent_size])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._weights)
            loss = tf.reduce_mean(tf.add(*self._terms(x, noise)))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self._weights), self._job.gradient_norm_limit)
        for weight, first, second, gradient in zip(self._weights, self._first, self._second, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=BETA1**number,
                beta2_power=BETA2**number,
                lr=rate,
                beta1=BETA1,
                beta2=BETA2,
                epsilon=EPSILON,
                grad=gradient,
            )
        return loss

    def _terms(self, x: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reconstruction and KL of each example, in nats."""
        network = self._mlp if self._job.is_mlp else self._convolutional
        mean, log_variance, logits = network(x, noise)
        pointwise = tf.nn.sigmoid_cross_entropy_with_logits(x, logits)
        reconstruction = tf.reduce_sum(pointwise, list(range(1, len(x.shape))))
        kl = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - log_variance - 1, 1)
        return reconstruction, kl

    def _mlp(self, x: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Mean and log-variance of the posterior, and logits."""
        w = self._weights
        mean, log_variance, z = sample(tf.nn.relu(dense(x, w[0], w[1])), w[2:6], noise)
        return mean, log_variance, dense(tf.nn.relu(dense(z, w[6], w[7])), w[8], w[9])

    def _convolutional(self, x: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Mean and log-variance of the posterior, and logits."""
        w, sizes = self._weights, self._sizes
        layers = len(sizes) - 1
        signal = x
        for i in range(layers):
            signal = tf.nn.bias_add(tf.nn.conv2d(signal, w[2 * i], STRIDE, EXPLICIT), w[2 * i + 1])
            signal = tf.nn.relu(signal)
        rest = w[2 * layers :]
        shape = signal.shape
        mean, log_variance, z = sample(tf.reshape(signal, [shape[0], -1]), rest[:4], noise)
        signal = tf.reshape(tf.nn.relu(dense(z, rest[4], rest[5])), shape)
        for i in range(layers):
            size, channels = sizes[-2 - i], rest[6 + 2 * i].shape[2]
            output = [shape[0], size, size, channels]
            signal = tf.nn.conv2d_transpose(signal, rest[6 + 2 * i], output, STRIDE, EXPLICIT)
            signal = tf.nn.bias_add(signal, rest[7 + 2 * i])
            if i < layers - 1:
                signal = tf.nn.relu(signal)
        return mean, log_variance, signal


def dense(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """A product and a bias, which TensorFlow fuses."""
    return tf.nn.bias_add(tf.matmul(x, weight), bias)


def sample(features: tf.Tensor, heads: list[tf.Tensor], noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean, log-variance, and z."""
    mean = dense(features, heads[0], heads[1])
    log_variance = tf.clip_by_value(dense(features, heads[2], heads[3]), -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
    return mean, log_variance, mean + tf.exp(0.5 * log_variance) * noise
