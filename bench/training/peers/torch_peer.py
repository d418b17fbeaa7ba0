"""The peer in PyTorch: eager, or with the loss and its gradients compiled by Inductor."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from workloads import (
    BETA1,
    BETA2,
    EPSILON,
    LOG_VARIANCE_LIMIT,
    PADDING,
    STRIDE,
    Job,
    map_sizes,
    parameters,
)

VARIANTS = ("eager", "compile")


def create(job: Job, variant: str | None, pixels: np.ndarray) -> TorchPeer:
    """The peer; the faster variant where none is named."""
    return TorchPeer(job, variant or "compile", pixels)


class TorchPeer:
    """Parameters, their optimiser, and the data set as bytes."""

    def __init__(self, job: Job, variant: str, pixels: np.ndarray) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant is {variant!r}; expected one of {', '.join(VARIANTS)}")
        torch.set_num_threads(job.threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(job.seed)
        self.library = f"torch {torch.__version__.split('+')[0]}"
        self.variant = variant
        self._job = job
        self._limit = job.gradient_norm_limit
        self._pixels = torch.from_numpy(pixels.reshape(job.count, -1))
        self._parameters = parameters(job)
        self._weights = [torch.empty(p.shape, requires_grad=True) for p in self._parameters]
        if not job.is_mlp:
            self._sizes = map_sizes(job)
            for weight in self._weights:
                if weight.dim() == 4:
                    weight.data = weight.data.to(memory_format=torch.channels_last)
        betas = (BETA1, BETA2)
        self._adam = torch.optim.Adam(self._weights, lr=job.learning_rate, betas=betas, eps=EPSILON, fused=True)
        self._loss = self._batch_loss
        if variant == "compile":
            self._loss = torch.compile(self._batch_loss, dynamic=False)

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Writes all parameters."""
        with torch.no_grad():
            for weight, values in zip(self._weights, weights):
                weight.copy_(torch.from_numpy(values))

    def train(self, batches: np.ndarray, rates: np.ndarray, _: int) -> float:
        """Steps on the batches; their mean loss."""
        indices = torch.from_numpy(batches)
        losses = []
        for batch, rate in zip(indices, rates.tolist()):
            loss = self._loss(self._pixels.index_select(0, batch))
            self._adam.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._weights, self._limit, foreach=True)
            self._adam.param_groups[0]["lr"] = rate
            self._adam.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    @torch.no_grad()
    def negative_elbo(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Of each example, in nats."""
        reconstruction, kl = self._terms(torch.from_numpy(x).flatten(1), torch.from_numpy(noise))
        return (reconstruction + kl).numpy()

    def check(self, weights: list[np.ndarray], x: np.ndarray, noise: np.ndarray) -> dict[str, float]:
        """Loss, its terms and the gradients' norm for given weights."""
        kept = [weight.detach().clone().numpy() for weight in self._weights]
        self.set_weights(weights)
        terms = self._terms(torch.from_numpy(x).flatten(1), torch.from_numpy(noise))
        reconstruction, kl = (term.mean() for term in terms)
        loss = reconstruction + kl
        gradients = torch.autograd.grad(loss, self._weights)
        norm = torch.nn.utils.get_total_norm(gradients)
        self.set_weights(kept)
        named = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "gradient_norm": norm}
        return {name: value.item() for name, value in named.items()}

    def _batch_loss(self, batch: torch.Tensor) -> torch.Tensor:
        """Of bytes [batch size, pixels], with new noise."""
        x = batch.float() / 255
        if self._job.binarised:
            x = (torch.rand_like(x) < x).float()
        noise = torch.randn(x.shape[0], self._job.latent_size)
        reconstruction, kl = self._terms(x, noise)
        return (reconstruction + kl).mean()

    def _terms(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction and KL of each example, in nats."""
        network = self._mlp if self._job.is_mlp else self._convolutional
        mean, log_variance, logits = network(x, noise)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)
        return reconstruction, kl

    def _mlp(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean and log-variance of the posterior, and logits."""
        w = self._weights
        features = torch.addmm(w[1], x, w[0]).relu()
        mean, log_variance, z = self._sample(features, w[2:6], noise)
        hidden = torch.addmm(w[7], z, w[6]).relu()
        return mean, log_variance, torch.addmm(w[9], hidden, w[8])

    def _convolutional(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean and log-variance of the posterior, and logits."""
        w, sizes = self._weights, self._sizes
        layers = len(sizes) - 1
        signal = x.view(-1, *self._job.shape).to(memory_format=torch.channels_last)
        for i in range(layers):
            signal = F.conv2d(signal, w[2 * i], w[2 * i + 1], STRIDE, PADDING).relu()
        rest = w[2 * layers :]
        mean, log_variance, z = self._sample(signal.flatten(1), rest[:4], noise)
        shape = signal.shape[1:]
        signal = torch.addmm(rest[5], z, rest[4]).relu().view(-1, *shape).to(memory_format=torch.channels_last)
        for i in range(layers):
            extra = sizes[-2 - i] - 2 * sizes[-1 - i]
            weight, bias = rest[6 + 2 * i : 8 + 2 * i]
            signal = F.conv_transpose2d(signal, weight, bias, STRIDE, PADDING, extra)
            if i < layers - 1:
                signal = signal.relu()
        return mean, log_variance, signal.flatten(1)

    @staticmethod
    def _sample(features: torch.Tensor, heads: list[torch.Tensor], noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean, log-variance, and z."""
        mean = torch.addmm(heads[1], features, heads[0])
        log_variance = torch.addmm(heads[3], features, heads[2]).clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        return mean, log_variance, mean + (0.5 * log_variance).exp() * noise
