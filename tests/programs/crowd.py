"""A crowd of connections that mean no good: `crowd.py PORT COUNT SECONDS`.

Of each three connections one sends garbage, one half a request, and one a byte of a request each second. Says `up` when
all are open, and keeps them for so many seconds after that.
"""

import os
import select
import socket
import sys
import time

port, count, seconds = (int(word) for word in sys.argv[1:])

GARBAGE = bytes(range(128, 192))
HALF = b"GET /hello/half HTTP/1.1\r\nHost: crowd\r\nX-Half: "
SLOW = b"GET /hello/slow HTTP/1.1\r\nHost: crowd\r\nX-Slow: " + b"s" * 1000

# A process may not have descriptors for all, nor an address ports.
OF_PROCESS = 15_000
BATCH = 500


def send(one, data):
    try:
        one.send(data)
    except OSError:  # the server may have closed it: that is its right
        pass


def connect(source):
    one = socket.socket()
    one.setblocking(False)
    one.bind((source, 0))
    one.connect_ex(("127.0.0.1", port))
    return one


def crowd(source, count):
    """Opens the connections; gives all of them, and those that send slowly."""
    everyone, slow = [], []
    while len(everyone) < count:
        poll = select.poll()
        batch = [connect(source) for _ in range(min(BATCH, count - len(everyone)))]
        waiting = {one.fileno(): one for one in batch}
        for handle in waiting:
            poll.register(handle, select.POLLOUT)
        while waiting:
            for handle, _ in poll.poll(30_000) or sys.exit("connections are not accepted"):
                poll.unregister(handle)
                one = waiting.pop(handle)
                kind = len(everyone) % 3
                everyone.append(one)
                if kind == 2:
                    slow.append(one)
                else:
                    send(one, (GARBAGE, HALF)[kind])
    return everyone, slow


def dribble(slow, go_on):
    for at in range(len(SLOW)):
        began = time.monotonic()
        for one in slow:
            send(one, SLOW[at : at + 1])
        if not go_on():
            return
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))


# A child reports by a byte, and goes on until the parent has closed its end of the other pipe.
up_read, up_write = os.pipe()
end_read, end_write = os.pipe()
children = []
for number, first in enumerate(range(0, count, OF_PROCESS)):
    child = os.fork()
    if child == 0:
        os.close(end_write)
        everyone, slow = crowd(f"127.0.1.{number + 1}", min(OF_PROCESS, count - first))
        os.write(up_write, b"u")
        dribble(slow, lambda: not select.select([end_read], [], [], 0)[0])
        os._exit(0)
    children.append(child)
os.close(up_write)
for _ in children:
    if not os.read(up_read, 1):
        sys.exit("a part of the crowd did not come up")
print("up", flush=True)
time.sleep(seconds)
os.close(end_write)
for child in children:
    os.waitpid(child, 0)
