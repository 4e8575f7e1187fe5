"""Programs whose threads hand requests over through something that no socket shows: one thread reads every request, workers
make the calls. MODE names what stands between them:

pipe        a queue whose entries are wake-ups in a pipe; the worker that made the call answers
condition   a list under a condition variable; the worker that made the call answers
completion  the same, but what is done goes to a queue from which any of several threads answers
shared      workers that both make calls and answer whatever is on the queue of the finished
"""

import collections
import http.client
import os
import queue
import selectors
import socket
import threading

BACKEND = int(os.environ["BACKEND_PORT"])
MODE = os.environ["MODE"]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\ndone\n"
local = threading.local()


class Pipe:
    """Jobs in a deque, a byte in a pipe for each."""

    def __init__(self):
        self.jobs = collections.deque()
        self.reader, self.writer = os.pipe()

    def put(self, job):
        self.jobs.append(job)
        os.write(self.writer, b"x")

    def get(self):
        os.read(self.reader, 1)
        return self.jobs.popleft()


class Condition:
    def __init__(self):
        self.jobs = collections.deque()
        self.changed = threading.Condition()

    def put(self, job):
        with self.changed:
            self.jobs.append(job)
            self.changed.notify()

    def get(self):
        with self.changed:
            while not self.jobs:
                self.changed.wait()
            return self.jobs.popleft()


def call(number):
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection("127.0.0.1", BACKEND)
    local.connection.request("GET", f"/out/{number}")
    local.connection.getresponse().read()


def worker(todo, done):
    while True:
        stream, number = todo.get()
        call(number)
        if done is None:
            stream.sendall(ANSWER)
        else:
            done.put(stream)


def answerer(done):
    while True:
        done.get().sendall(ANSWER)


def both(tasks):
    """Takes whatever is next: a request to make the call for, or an answer to write."""
    while True:
        kind, stream, number = tasks.get()
        if kind == "call":
            call(number)
            tasks.put(("answer", stream, None))
        else:
            stream.sendall(ANSWER)


class Tagged:
    """Requests as tasks of kind call."""

    def __init__(self, tasks):
        self.tasks = tasks

    def put(self, job):
        self.tasks.put(("call", *job))


def start(target, count, *words):
    for _ in range(count):
        threading.Thread(target=target, args=words, daemon=True).start()


def main():
    todo = Pipe() if MODE == "pipe" else Condition()
    if MODE == "shared":
        tasks = queue.Queue()
        start(both, 16, tasks)
        todo = Tagged(tasks)
    elif MODE == "completion":
        done = queue.Queue()
        start(worker, 16, todo, done)
        start(answerer, 4, done)
    else:
        start(worker, 16, todo, None)
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=256)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                stream, _ = listener.accept()
                selector.register(stream, selectors.EVENT_READ)
                continue
            head = key.fileobj.recv(65536)
            if head:
                todo.put((key.fileobj, head.split(b" ", 2)[1].split(b"/")[2].decode()))
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()


main()
