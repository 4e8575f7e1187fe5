"""A Tornado server that calls another service with Tornado's client, which has ten connections and a queue for those who come
when all are in use; with MODE "poller" a timer calls beside the requests."""

import asyncio
import os

from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler

BACKEND = f"http://127.0.0.1:{os.environ['BACKEND_PORT']}"


class Service(RequestHandler):
    async def get(self, number):
        await AsyncHTTPClient().fetch(f"{BACKEND}/out/{number}")
        self.write("done\n")

    def log_request(self):
        pass


def log_nothing(_handler):
    pass


async def poll():
    number = 0
    while True:
        number += 1
        await AsyncHTTPClient().fetch(f"{BACKEND}/poll/{number}")
        await asyncio.sleep(0.003)


async def main():
    app = Application([(r"/in/(\d+)", Service)], log_function=log_nothing)
    app.listen(int(os.environ["PORT"]), "127.0.0.1")
    if os.environ["MODE"] == "poller":
        await poll()
    await asyncio.Event().wait()


asyncio.run(main())
