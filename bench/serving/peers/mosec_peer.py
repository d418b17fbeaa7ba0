"""Mosec: a Rust front that forms batches for Python workers; a route for each type of body."""

import numpy as np
from mosec import Runtime, Server, Worker

from encoder import FLOAT32, JSON, MAX_BATCH, PNG, WORKERS, Encoder


class EncodeWorker(Worker):
    def __init__(self):
        self.encode = Encoder()

    def deserialize(self, data):
        return self.read(data)

    def forward(self, data):
        encoding = self.encode(np.concatenate(data))
        return np.split(encoding, np.cumsum([len(x) for x in data])[:-1])

    def serialize(self, data):
        return self.write(data)


def worker(codec):
    read, write, media_type = codec
    members = {"read": staticmethod(read), "write": staticmethod(write), "resp_mime_type": media_type}
    return type("EncodeWorker", (EncodeWorker,), members)


Float32Worker, JsonWorker, PngWorker = (worker(codec) for codec in (FLOAT32, JSON, PNG))

if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {
            f"/encode/{name}": [Runtime(kind, num=WORKERS, max_batch_size=MAX_BATCH, max_wait_time=1)]
            for name, kind in (("float32", Float32Worker), ("json", JsonWorker), ("png", PngWorker))
        }
    )
    server.run()
