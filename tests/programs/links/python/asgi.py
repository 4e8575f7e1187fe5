"""An ASGI application for uvicorn that calls another service through one httpx client."""

import os

import httpx

BACKEND = f"http://127.0.0.1:{os.environ['BACKEND_PORT']}"
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=100), trust_env=False)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    number = scope["path"].split("/")[2]
    await client.get(f"{BACKEND}/out/{number}")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"done\n"})
