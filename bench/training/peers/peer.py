"""A process that trains with one library: `python peer.py LIBRARY [VARIANT]`, JSON lines in, JSON lines out.

The first line is the job:

  {"workload": "a", "threads": 2, "seed": 1, "batch_size": 128, "total_steps": 4000, "learning_rate": 0.001,
   "gradient_norm_limit": 5, "latent_size": 20, "data": {"train": "/x.u8", "count": 54000, "shape": [1, 28, 28],
   "validation": "/y.u8", "validation_count": 6000}}

whose files hold bytes [count, channels, rows, columns]. The answer is {"ready": true, "library": ..., "variant": ...}.
Then each line is a command, and each answer one line:

  {"do": "train", "steps": K}    {"steps", "ms", "cpu_ms", "loss", "peak_rss"}: programs are compiled for one K, so
                                 the first turn is a warm-up and the same K should follow
  {"do": "evaluate"}             {"negative_elbo", "peak_rss"}: nats an example of the validation file, one sample of z.
                                 Pixels of (a), (b) are binarised once, which leaves bytes 0 and 255 as they are
  {"do": "check", "weights": F, "x": F, "noise": F}
                                 {"loss", "reconstruction", "kl", "gradient_norm"} (before clipping) of one batch.
                                 The files are float32: weights as workloads.py orders them, x [N, C, H, W] in [0, 1],
                                 noise [N, latent size]. Training goes on as if nothing had happened
  {"do": "quit"}

A failure is answered by {"error": ...} and ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np

from workloads import Batches, Job, initial_weights, learning_rates, read_pixels, split

MODULES = {"torch": "torch_peer", "tensorflow": "tensorflow_peer", "jax": "jax_peer"}
USAGE = "python peer.py torch|tensorflow|jax [VARIANT]"


def main() -> None:
    """Serves standard input until it ends or says to quit."""
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in MODULES:
        sys.exit(f"usage: {USAGE}")
    # Libraries print to standard output too; theirs goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        serve(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None, answers)
    except Exception as error:
        say(answers, {"error": f"{type(error).__name__}: {error}"})
        raise


def serve(library: str, variant: str | None, answers: TextIO) -> None:
    """Creates the peer that the first line describes, and carries out the commands."""
    job = Job.parse(json.loads(sys.stdin.readline()))
    limit_threads(job.threads)
    session = Session(job, library, variant)
    say(answers, {"ready": True, "library": session.peer.library, "variant": session.peer.variant})
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "train":
                say(answers, session.train(command["steps"]))
            case "evaluate":
                say(answers, session.evaluate())
            case "check":
                say(answers, session.check(command))
            case "quit":
                return
            case other:
                raise ValueError(f"do is {other!r}; expected train, evaluate, check or quit")


class Session:
    """A peer and its progress."""

    def __init__(self, job: Job, library: str, variant: str | None) -> None:
        self._job = job
        pixels = read_pixels(job.train, job.count, job.shape)
        self.peer: Any = importlib.import_module(MODULES[library]).create(job, variant, pixels)
        self.peer.set_weights(initial_weights(job, pixels))
        self._batches = Batches(job)
        self._steps = 0

    def train(self, steps: int) -> dict:
        """A turn of training."""
        cpu, start = time.process_time(), time.perf_counter()
        loss = self.peer.train(self._batches.take(steps), learning_rates(self._job, self._steps, steps), self._steps)
        ms, cpu_ms = 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - cpu)
        self._steps += steps
        return {"steps": steps, "ms": ms, "cpu_ms": cpu_ms, "loss": loss, "peak_rss": peak_rss()}

    def evaluate(self) -> dict:
        """Mean negative ELBO of the validation file, on the same pixels and noise at every call."""
        job = self._job
        random = np.random.default_rng(job.seed)
        pixels = read_pixels(job.validation, job.validation_count, job.shape)
        total = 0.0
        for start in range(0, len(pixels), job.batch_size):
            x = pixels[start : start + job.batch_size]
            examples = len(x)
            if job.binarised:
                x = (x > random.integers(0, 255, x.shape, np.uint8)).astype(np.float32)
            else:
                x = x.astype(np.float32) / np.float32(255)
            # Programs are compiled for whole batches.
            x = np.concatenate([x, np.zeros((job.batch_size - examples, *job.shape), np.float32)])
            noise = random.standard_normal((job.batch_size, job.latent_size), np.float32)
            total += float(np.sum(self.peer.negative_elbo(x, noise)[:examples], dtype=np.float64))
        return {"negative_elbo": total / len(pixels), "peak_rss": peak_rss()}

    def check(self, command: dict) -> dict:
        """Loss, its terms and the norm of its gradients for given weights, pixels and noise."""
        job = self._job
        x = np.fromfile(command["x"], np.float32).reshape(-1, *job.shape)
        noise = np.fromfile(command["noise"], np.float32).reshape(len(x), job.latent_size)
        return self.peer.check(split(job, np.fromfile(command["weights"], np.float32)), x, noise)


def limit_threads(threads: int) -> None:
    """For libraries, imported later, that read it from the environment; NPROC is XLA's."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["JAX_PLATFORMS"] = "cpu"


def peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def say(answers: TextIO, answer: dict) -> None:
    """One line of JSON."""
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
