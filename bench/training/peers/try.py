"""Runs peers side by side without Elbo: `.venv/jax/bin/python try.py --workload c --peers torch:eager,jax`.

Checks that all compute the same loss and gradients, then trains them in turns, each idle while another runs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from workloads import Job, initial_weights

HERE = Path(__file__).parent
SETTINGS = {
    "a": {"batch_size": 128, "latent_size": 20, "gradient_norm_limit": 5},
    "b": {"batch_size": 128, "latent_size": 32, "gradient_norm_limit": 100},
    "c": {"batch_size": 64, "latent_size": 64, "gradient_norm_limit": 100},
}
TOLERANCE = 1e-4


class Peer:
    """A child process."""

    def __init__(self, name: str, job: dict, venvs: Path) -> None:
        self.name = name
        library = name.split(":")[0]
        command = [str(venvs / library / "bin" / "python"), str(HERE / "peer.py"), *name.split(":")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.ask(job)

    def ask(self, message: dict) -> dict:
        """Sends one line and reads one."""
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def quit(self) -> None:
        """Ends the process."""
        self._process.stdin.write('{"do": "quit"}\n')
        self._process.stdin.close()
        self._process.wait()


def mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation images."""
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 1, 28, 28)
    return pixels[:54_000], pixels[54_000:]


def discs(count: int, seed: int) -> np.ndarray:
    """Coloured discs on coloured grounds, 3 x 64 x 64: what the third network can learn."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:64, 0:64]
    images = np.empty((count, 3, 64, 64), np.uint8)
    for image in images:
        x, y, radius = *random.uniform(16, 48, 2), random.uniform(6, 16)
        edge = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1)
        ground, disc = random.integers(0, 256, (2, 3))
        image[:] = ground[:, None, None] * (1 - edge) + disc[:, None, None] * edge
    return images


def check(peers: list[Peer], job: dict, folder: Path) -> None:
    """Holds every peer's loss and gradients against the first one's."""
    parsed = Job.parse(job)
    pixels = np.fromfile(parsed.train, np.uint8).reshape(parsed.count, *parsed.shape)
    random = np.random.default_rng(7)
    x = pixels[: parsed.batch_size].astype(np.float32) / 255
    if parsed.binarised:
        x = (random.random(x.shape) < x).astype(np.float32)
    # Biases too, so that a bias in the wrong place shows.
    weights = [w + 0.05 * random.standard_normal(w.shape, np.float32) for w in initial_weights(parsed, pixels)]
    files = {"weights": np.concatenate([w.ravel() for w in weights]), "x": x}
    files["noise"] = random.standard_normal((parsed.batch_size, parsed.latent_size), np.float32)
    for name, values in files.items():
        values.tofile(folder / name)
    message = {"do": "check", **{name: str(folder / name) for name in files}}
    answers = {peer.name: peer.ask(message) for peer in peers}
    first = answers[peers[0].name]
    print("check", first)
    for name, answer in answers.items():
        differences = {key: abs(answer[key] / first[key] - 1) for key in first}
        verdict = "agrees" if max(differences.values()) < TOLERANCE else "DIFFERS"
        print(f"  {name:16} {verdict}", {key: f"{value:.0e}" for key, value in differences.items()})


def main() -> None:
    """Checks, trains in turns, and prints a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--workload", default="a", choices=SETTINGS)
    options.add_argument("--peers", default="torch,tensorflow,jax")
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--total", type=int, default=4000)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--venvs", type=Path, default=HERE / ".venv", help="folder that setup.sh made")
    options.add_argument("--mnist", type=Path, help="folder of the IDX files, for a and b")
    given = options.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.workload != "c" and given.mnist is None:
            options.error("--mnist is needed for a and b")
        train, validation = (discs(4096, 1), discs(512, 2)) if given.workload == "c" else mnist(given.mnist)
        train.tofile(folder / "train.u8")
        validation.tofile(folder / "validation.u8")
        data = {"train": str(folder / "train.u8"), "count": len(train), "shape": train.shape[1:]}
        data |= {"validation": str(folder / "validation.u8"), "validation_count": len(validation)}
        job = {"workload": given.workload, "threads": given.threads, "data": data, "seed": 1}
        job |= {"total_steps": given.total, "learning_rate": 0.001, **SETTINGS[given.workload]}
        peers = [Peer(name, job, given.venvs) for name in given.peers.split(",")]
        check(peers, job, folder)

        warm_up = {peer.name: peer.ask({"do": "train", "steps": given.steps}) for peer in peers}
        turns: dict[str, list[dict]] = {peer.name: [] for peer in peers}
        for _ in range(given.rounds):
            for peer in peers:
                turns[peer.name].append(peer.ask({"do": "train", "steps": given.steps}))
        for peer in peers:
            done = turns[peer.name]
            ms = [turn["ms"] / turn["steps"] for turn in done]
            cpu = statistics.median(turn["cpu_ms"] / turn["steps"] for turn in done)
            memory = done[-1]["peak_rss"] / 2**20
            print(
                f"{given.workload} {peer.ready['library']:18} {peer.ready['variant']:14} ms a step: median "
                f"{statistics.median(ms):7.2f} min {min(ms):7.2f} cpu {cpu:7.2f}  first turn "
                f"{warm_up[peer.name]['ms'] / 1000:5.1f} s  loss {done[-1]['loss']:8.2f}  "
                f"-ELBO {peer.ask({'do': 'evaluate'})['negative_elbo']:8.2f}  peak {memory:5.0f} MiB"
            )
            peer.quit()
        print("load average", os.getloadavg())


if __name__ == "__main__":
    main()
