"""LitServe with dynamic batching and its ZeroMQ queue; a route for each type of body."""

from typing import Annotated

import litserve as ls
import numpy as np
from fastapi import Depends, Request, Response

from encoder import FLOAT32, JSON, MAX_BATCH, PNG, PORT, WORKERS, Encoder


async def read_body(request: Request):
    return await request.body()


class EncodeAPI(ls.LitAPI):
    def __init__(self, codec, path):
        # Batches form while a run is under way; waiting for more only costs time here.
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=0.001, api_path=path)
        self.read, self.write, self.media_type = codec

    def setup(self, device):
        self.encode = Encoder()

    def decode_request(self, request: Annotated[bytes, Depends(read_body)]):
        return self.read(request)

    def batch(self, inputs):
        return np.concatenate(inputs), [len(x) for x in inputs]

    def predict(self, batch):
        x, counts = batch
        return self.encode(x), counts

    def unbatch(self, output):
        encoding, counts = output
        return np.split(encoding, np.cumsum(counts)[:-1])

    def encode_response(self, output):
        return Response(self.write(output), media_type=self.media_type)


if __name__ == "__main__":
    apis = [
        EncodeAPI(FLOAT32, "/encode/float32"),
        EncodeAPI(JSON, "/encode/json"),
        EncodeAPI(PNG, "/encode/png"),
    ]
    server = ls.LitServer(apis, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=PORT,
        num_api_servers=WORKERS,
        log_level="warning",
        generate_client_file=False,
    )
