"""A threaded WSGI server (wsgiref, one thread per connection) that calls another service with a blocking client."""

import http.client
import os
import queue
import random
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

BACKEND = int(os.environ["BACKEND_PORT"])
MODE = os.environ["MODE"]
POOL = queue.LifoQueue()
EXECUTOR = ThreadPoolExecutor(16)
database, _, pooling = MODE.partition("-")
if database in ("redis", "postgres"):
    import databases

    ask = getattr(databases, database)(pooling != "close")
else:
    ask = None


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 256


class Handler(WSGIRequestHandler):
    def log_message(self, *words):
        pass


def get(connection, path):
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def place(path):
    """Where the call of an ID that ends in c goes, nobody listens."""
    number = path.split("/")[2].split(".")[0]
    refused = number.endswith("c") and not path.endswith(".2")
    return f"127.0.1.{int(number[-3:-1])}" if refused else "127.0.0.1"


def once(path):
    connection = http.client.HTTPConnection(place(path), BACKEND, timeout=0.15)
    try:
        return get(connection, path)
    finally:
        connection.close()


def attempt(path):
    try:
        return once(path)
    except (OSError, http.client.HTTPException):
        return 0


def pooled(path):
    """The program's own pool: whichever connection is free serves whichever thread asks."""
    try:
        connection = POOL.get_nowait()
    except queue.Empty:
        connection = http.client.HTTPConnection("127.0.0.1", BACKEND)
    status = get(connection, path)
    POOL.put(connection)
    return status


def application(environ, start_response):
    number = environ["PATH_INFO"].split("/")[2]
    if ask:
        ask(number)
    if MODE == "pool":
        pooled(f"/out/{number}")
    elif MODE in ("fanout", "mixed"):
        # Other threads make calls for this one, which may make one itself.
        if MODE == "mixed":
            once(f"/out/{number}.1")
        list(EXECUTOR.map(pooled, (f"/out/{number}.{n}" for n in (2, 3))))
    elif MODE == "retry":
        if once(f"/flaky/{number}.1") != 200:
            once(f"/flaky/{number}.2")
    elif MODE == "fallback":
        if attempt(f"/out/{number}.1") != 200:
            once(f"/out/{number}.2")
    elif MODE == "after":
        # Fire and forget: another thread makes the call, perhaps after the answer.
        threading.Thread(target=once, args=(f"/out/{number}",), daemon=True).start()
    elif attempt(f"/out/{number}") != 200:
        return respond(start_response, "502 Bad Gateway")
    return respond(start_response, "200 OK")


def respond(start_response, status):
    body = b"done\n"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def poll():
    connection = http.client.HTTPConnection("127.0.0.1", BACKEND)
    number = 0
    while True:
        number += 1
        get(connection, f"/poll/{number}")
        threading.Event().wait(random.uniform(0.001, 0.005))


if MODE == "poller":
    threading.Thread(target=poll, daemon=True).start()
make_server("127.0.0.1", int(os.environ["PORT"]), application, Server, Handler).serve_forever()
