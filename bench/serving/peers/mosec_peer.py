"""Mosec: a Rust front that forms batches for Python workers; a route for each type of body."""

import numpy as np
from mosec import Runtime, Server, Worker

from encoder import FLOAT32, JSON, MAX_BATCH, PNG, WORKERS, Encoder


class EncodeWorker(Worker):
    def __init__(self):
        self.encode = Encoder()

    def deserialize(self, data):
        return self.codec[0](data)

    def forward(self, data):
        encoding = self.encode(np.concatenate(data))
        return np.split(encoding, np.cumsum([len(x) for x in data])[:-1])

    def serialize(self, data):
        return self.codec[1](data)


class Float32Worker(EncodeWorker):
    codec = FLOAT32
    resp_mime_type = FLOAT32[2]


class JsonWorker(EncodeWorker):
    codec = JSON


class PngWorker(EncodeWorker):
    codec = PNG


if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {
            f"/encode/{name}": [Runtime(kind, num=WORKERS, max_batch_size=MAX_BATCH, max_wait_time=1)]
            for name, kind in (("float32", Float32Worker), ("json", JsonWorker), ("png", PngWorker))
        }
    )
    server.run()
