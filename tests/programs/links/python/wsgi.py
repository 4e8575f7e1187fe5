"""A WSGI application for gunicorn (threads, or greenlets of gevent) that calls another service with the blocking client of
the standard library."""

import http.client
import os
import threading
import time

BACKEND = int(os.environ["BACKEND_PORT"])
local = threading.local()


def connection():
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection("127.0.0.1", BACKEND)
    return local.connection


def app(environ, start_response):
    number = environ["PATH_INFO"].split("/")[2]
    client = connection()
    client.request("GET", f"/out/{number}")
    client.getresponse().read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"done\n"]


def poll():
    """A timer's calls beside the requests."""
    client = http.client.HTTPConnection("127.0.0.1", BACKEND)
    number = 0
    while True:
        number += 1
        client.request("GET", f"/poll/{number}")
        client.getresponse().read()
        time.sleep(0.005)


if os.environ["MODE"] == "poller":
    threading.Thread(target=poll, daemon=True).start()
