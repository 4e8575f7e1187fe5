"""Requests and responses with long heads, sent in one call, in pieces and behind each other, read with buffers of different sizes.

heads.py serve PORT             says "listening", serves each connection alone
heads.py ask PORT CASE...       one connection for each case, SIDE:BYTES:WAY:BUFFER; prints "CASE ok"

SIDE is who has the long head, WAY one, behind (another message in the same call),
the bytes of a piece, or those of the first piece alone (N+), the rest coming later in one call. The trace id of a
request is its case's number.
"""

import socket
import sys
import time


def filler(size):
    return "a" * max(size, 0)


def send(connection, messages, way):
    data = b"".join(messages)
    if way in ("one", "behind"):
        connection.sendall(data)
        return
    if way.endswith("+"):
        first = int(way[:-1])
        connection.sendall(data[:first])
        time.sleep(0.01)
        connection.sendall(data[first:])
        return
    step = int(way)
    for start in range(0, len(data), step):
        connection.sendall(data[start:start + step])


def heads(connection, buffer, count, data=b""):
    """Reads until `count` heads are there."""
    first = True
    while data.count(b"\r\n\r\n") < count:
        # As nginx reads: a small buffer for the first bytes, larger ones if that is not enough.
        more = connection.recv(1024 if buffer == "nginx" and first else 8192 if buffer == "nginx" else int(buffer))
        if not more:
            return data
        data += more
        first = False
    return data


def serve(port):
    listener = socket.create_server(("127.0.0.1", port))
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = heads(connection, "nginx", 1)
            if not data:
                continue
            # /SIDE/BYTES/WAY/BUFFER/NUMBER/PLACE
            _, side, size, way, buffer, *_ = data.split(b" ")[1].decode().split("/")
            count = 3 if way == "behind" else 1
            heads(connection, buffer, count, data)
            long = int(size) if side == "response" else 0
            answers = [answer(200 + place, long if place == count // 2 else 0) for place in range(count)]
            send(connection, answers, way)


def answer(status, size):
    start = f"HTTP/1.1 {status} Fine\r\nContent-Length: 5\r\nX-Filler: "
    end = "\r\nX-End: yes\r\n\r\n"
    return (start + filler(size - len(start) - len(end)) + end + "hello").encode()


def request(path, trace, place, size):
    start = f"GET /{path}/{trace}/{place} HTTP/1.1\r\nHost: a\r\nCookie: "
    end = f"\r\nTraceparent: 00-{trace:032x}-{place + 1:016x}-01\r\n\r\n"
    return (start + filler(size - len(start) - len(end)) + end).encode()


def ask(port, number, case):
    side, size, way, buffer = case.split(":")
    count = 3 if way == "behind" else 1
    long = int(size) if side == "request" else 0
    path = case.replace(":", "/")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = [request(path, number, place, long if place == count // 2 else 0) for place in range(count)]
        send(connection, asked, way)
        heads(connection, buffer, count)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    print(case, "ok", flush=True)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    for number, case in enumerate(sys.argv[3:], 1):
        ask(int(sys.argv[2]), number, case)
