"""MLServer with adaptive batching: a custom runtime behind the Open Inference Protocol. Binary bodies come as base64."""

import os
import sys

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceResponse

sys.path.append(os.environ["PEERS"])

from encoder import Encoder, from_float32, from_png  # noqa: E402


class EncodeModel(MLModel):
    async def load(self):
        self.encode = Encoder()
        return True

    async def predict(self, payload):
        (given,) = payload.inputs
        if given.datatype == "BYTES":
            read = from_png if given.name == "png" else from_float32
            x = np.concatenate([read(body) for body in Base64Codec.decode_input(given)])
        else:
            x = NumpyCodec.decode_input(given).astype(np.float32)
        encoding = self.encode(x)
        outputs = [
            NumpyCodec.encode_output(name, np.ascontiguousarray(encoding[:, i]))
            for i, name in enumerate(("mean", "log_variance"))
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
