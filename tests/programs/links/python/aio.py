"""An aiohttp server that calls another service through one aiohttp client session, in the way that MODE names; a MODE that
begins with "uvloop-" runs it on uvloop."""

import asyncio
import os
import random
import time

import aiohttp
from aiohttp import web

BACKEND = f"http://127.0.0.1:{os.environ['BACKEND_PORT']}"
LOOP, _, MODE = os.environ["MODE"].rpartition("-")


def place(path):
    """Where the call of an ID that ends in c goes, nobody listens."""
    number = path.split("/")[2].split(".")[0]
    if not number.endswith("c") or path.endswith(".2"):
        return BACKEND
    return BACKEND.replace("127.0.0.1", f"127.0.1.{int(number[-3:-1])}")


class Service:
    def __init__(self):
        self.session = None
        self.flight = None
        self.batch = None
        self.fresh = 0.0
        self.refreshing = False
        self.lock = asyncio.Lock()
        self.tasks = set()

    async def call(self, path):
        async with self.session.get(place(path) + path) as response:
            await response.read()
            return response.status

    async def attempt(self, path):
        try:
            return await self.call(path)
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return 0

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def plain(self, number):
        await self.call(f"/out/{number}")

    async def sleep(self, number):
        await asyncio.sleep(random.uniform(0.001, 0.003))
        await self.call(f"/out/{number}")

    async def thread(self, number):
        await asyncio.to_thread(time.sleep, 0.001)
        await self.call(f"/out/{number}")

    async def row(self, number):
        await self.call(f"/out/{number}.1")
        await self.call(f"/out/{number}.2")

    async def gather(self, number):
        await asyncio.gather(*(self.call(f"/out/{number}.{n}") for n in (1, 2, 3)))

    async def serial(self, number):
        """One call at a time."""
        async with self.lock:
            await self.call(f"/out/{number}")

    async def later(self, path):
        await asyncio.sleep(0.001)
        await self.call(path)

    async def hedge(self, number):
        """A second call where the first takes long; the first answer counts."""
        tries = self.spawn(self.call(f"/out/{number}.1")), self.spawn(self.later(f"/out/{number}.2"))
        await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)

    async def after(self, number):
        self.spawn(self.call(f"/out/{number}"))

    async def retry(self, number):
        if await self.call(f"/flaky/{number}.1") != 200:
            await asyncio.sleep(0.002)
            await self.call(f"/flaky/{number}.2")

    async def fallback(self, number):
        if await self.attempt(f"/out/{number}.1") != 200:
            await self.call(f"/out/{number}.2")

    async def chain(self, number):
        for n in (1, 2, 3):
            await self.call(f"/out/{number}.{n}")
            await asyncio.sleep(0)

    async def coalesce(self, number):
        """Single flight: who asks while a call is under way waits for it."""
        if self.flight is None:
            self.flight = self.spawn(self.call(f"/out/{number}"))
            self.flight.add_done_callback(lambda _: setattr(self, "flight", None))
        await asyncio.shield(self.flight)

    async def cache(self, number):
        """Who finds the answer stale refreshes it; so does a timer."""
        if self.refreshing or time.monotonic() - self.fresh < 0.003:
            return
        self.refreshing = True
        try:
            await self.call(f"/out/{number}")
        finally:
            self.refreshing = False
        self.fresh = time.monotonic()

    async def merge(self, number):
        """A batcher: what is asked for within 2 ms becomes one call."""
        if self.batch is None:
            numbers = []
            self.batch = (numbers, self.spawn(self.flush(numbers)))
        numbers, done = self.batch
        numbers.append(number)
        await asyncio.shield(done)

    async def flush(self, numbers):
        await asyncio.sleep(0.002)
        self.batch = None
        await self.call("/batch/" + ",".join(numbers))

    async def poll(self):
        number = 0
        while True:
            number += 1
            await self.call(f"/poll/{number}")
            self.fresh = time.monotonic()
            await asyncio.sleep(0.005)

    async def answer(self, request):
        way = {"poller": "plain", "pool": "plain", "batch": "merge"}.get(MODE, MODE)
        try:
            await getattr(self, way)(request.match_info["number"])
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return web.Response(status=502, text="failed\n")
        return web.Response(text="done\n")

    async def running(self, _app):
        connector = aiohttp.TCPConnector(limit=8 if MODE == "pool" else 100)
        patience = aiohttp.ClientTimeout(total=0.15)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as self.session:
            if MODE in ("poller", "cache"):
                self.spawn(self.poll())
            yield


def main():
    if LOOP == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    service = Service()
    app = web.Application()
    app.router.add_get("/in/{number}", service.answer)
    app.cleanup_ctx.append(service.running)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None)


main()
