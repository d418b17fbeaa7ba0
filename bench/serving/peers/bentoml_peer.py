"""BentoML: JSON by an API with adaptive batching; float32 and PNG, which such an API does not read, by ASGI routes."""

import bentoml
import numpy as np
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from encoder import CODECS, MAX_BATCH, WORKERS, Encoder, from_numbers

encode = None


async def encode_body(request):
    read, write, media_type = CODECS[request.headers["content-type"]]
    return Response(write(encode(read(await request.body()))), media_type=media_type)


@bentoml.asgi_app(Starlette(routes=[Route("/body", encode_body, methods=["POST"])]), path="/encode")
@bentoml.service(workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 4096}, logging={"access": {"enabled": False}})
class Service:
    def __init__(self):
        global encode
        encode = Encoder()

    @bentoml.api(route="/encode/json", batchable=True, max_batch_size=4096, max_latency_ms=10_000)
    def encode_json(self, inputs: np.ndarray) -> np.ndarray:
        return encode(from_numbers(inputs))
