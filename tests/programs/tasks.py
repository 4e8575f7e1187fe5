"""A service on asyncio, of the standard library alone: tasks.py PORT. Prints "listening" when it does.

GET /call/PORT/PATH waits a moment, calls http://127.0.0.1:PORT/PATH and waits again, so that what its one thread read last says
nothing of whom it serves; /each/PORT/PATH calls from a task of its own, /gather/PORT/PATH three times at once, each from a task
of its own; everything else is answered at once. `tasks.py load PORT CONNECTIONS PREFIX PATHS...` asks for PREFIX + PATH, each once.
"""
import asyncio
import random
import sys

IDLE = {}


async def ask(reader, writer, path):
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    await reader.readexactly(int(lengths[0]))


async def call(port, path):
    idle = IDLE.setdefault(port, [])
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
    await ask(reader, writer, path)
    idle.append((reader, writer))


async def pause():
    await asyncio.sleep(random.random() * 0.01)


async def answer(path):
    kind, _, rest = path[1:].partition("/")
    if kind not in ("call", "each", "gather"):
        return
    port, _, rest = rest.partition("/")
    await pause()
    if kind == "call":
        await call(int(port), "/" + rest)
    elif kind == "each":
        await asyncio.create_task(call(int(port), "/" + rest))
    else:
        await asyncio.gather(*(call(int(port), f"/{rest}/{n}") for n in range(3)))
    await pause()


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(head.split(b" ")[1].decode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def load(port, connections, prefix, paths):
    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while paths:
            await ask(reader, writer, prefix + paths.pop())
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))


async def main():
    if sys.argv[1] == "load":
        await load(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
        return
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("listening", flush=True)
    await server.serve_forever()


asyncio.run(main())
