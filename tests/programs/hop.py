"""A hop of a chain on asyncio: hop.py ADDRESS PORT NEXT_HOST NEXT_PORT. Every request waits a moment, is passed on to the next
hop, and is answered when that has answered. Prints "listening" when it does."""
import asyncio
import random
import sys

IDLE = []


async def head_of(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    if lengths:
        await reader.readexactly(int(lengths[0]))
    return head


async def call(path, host, port):
    reader, writer = IDLE.pop() if IDLE else await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await head_of(reader)
    IDLE.append((reader, writer))


async def serve(reader, writer):
    try:
        while True:
            head = await head_of(reader)
            await asyncio.sleep(random.random() * 0.003)
            await call(head.split(b" ")[1].decode(), sys.argv[3], int(sys.argv[4]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhop\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    print("listening", flush=True)
    await server.serve_forever()


asyncio.run(main())
