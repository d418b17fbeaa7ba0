"""FastAPI: uvicorn fastapi_peer:app --workers N. A run takes less time than handing it to a thread, so it is inline."""

from fastapi import FastAPI, Request, Response

from encoder import CODECS, Encoder

app = FastAPI()
encode = Encoder()


@app.post("/encode")
async def encode_items(request: Request):
    read, write, media_type = CODECS[request.headers["content-type"]]
    return Response(write(encode(read(await request.body()))), media_type=media_type)


@app.get("/health")
async def health():
    return {}
