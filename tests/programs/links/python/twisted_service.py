"""A Twisted server that calls another service over a pool of persistent connections: a reactor without tasks. MODE "delay" calls
after a timer, MODE "poller" has a timer that calls beside the requests."""

import os

from twisted.internet import reactor, task
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

BACKEND = f"http://127.0.0.1:{os.environ['BACKEND_PORT']}"
MODE = os.environ["MODE"]
pool = HTTPConnectionPool(reactor)
pool.maxPersistentPerHost = 64
agent = Agent(reactor, pool)


def call(path):
    return agent.request(b"GET", (BACKEND + path).encode()).addCallback(readBody)


class Service(Resource):
    isLeaf = True

    def render_GET(self, request):
        number = request.path.decode().rsplit("/", 1)[1]

        def done(_body):
            request.write(b"done\n")
            request.finish()

        def begin():
            return call(f"/out/{number}").addCallback(done)

        if MODE == "delay":
            reactor.callLater(0.002, begin)
        else:
            begin()
        return NOT_DONE_YET


def poll():
    poll.number += 1
    return call(f"/poll/{poll.number}")


poll.number = 0
reactor.listenTCP(int(os.environ["PORT"]), Site(Service()), interface="127.0.0.1")
if MODE == "poller":
    task.LoopingCall(poll).start(0.003)
reactor.run()
