"""What every peer does between the body of a request and that of its answer."""

import io
import os

import numpy as np
import onnxruntime
import orjson
from PIL import Image

WORKERS = int(os.environ.get("WORKERS", "1"))
PORT = int(os.environ.get("PORT", "0"))
MAX_BATCH = 64


class Encoder:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["ENCODER"], options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, x):
        """[N, 1, 28, 28] to mean and log variance of each item: [N, 2, Z]."""
        return np.stack(self.session.run(["mean", "log_variance"], {"x": x}), axis=1)


def from_float32(body):
    return np.frombuffer(body, "<f4").reshape(-1, 1, 28, 28)


def from_numbers(inputs):
    return np.asarray(inputs, np.float32).reshape(-1, 1, 28, 28)


def from_json(body):
    return from_numbers(orjson.loads(body)["inputs"])


def from_png(body):
    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("L"), np.float32)
    return (pixels / 255).reshape(1, 1, 28, 28)


def to_float32(encoding):
    return encoding.tobytes()


def to_json(encoding):
    mean, log_variance = (np.ascontiguousarray(encoding[:, i]) for i in (0, 1))
    return orjson.dumps({"mean": mean, "log_variance": log_variance}, option=orjson.OPT_SERIALIZE_NUMPY)


# By the type of the body: how it is read, and how the answer is written.
FLOAT32 = (from_float32, to_float32, "application/octet-stream")
JSON = (from_json, to_json, "application/json")
PNG = (from_png, to_json, "application/json")
CODECS = {"application/octet-stream": FLOAT32, "application/json": JSON, "image/png": PNG}
