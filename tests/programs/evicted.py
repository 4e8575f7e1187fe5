"""A thread that goes on with a request long after it was read: `evicted.py PORT BACKEND`.

The first connection's request is read by one thread. All further connections are answered at once, until one asks for
`/second`: then another thread reads the second request of the first connection, and only then the first thread calls the
backend and answers.
"""

import socket
import sys
import threading

port, backend = (int(word) for word in sys.argv[1:])

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            break
        data += more
    return data


def first(connection, go):
    head(connection)
    print("read", flush=True)
    go.wait()
    with socket.create_connection(("127.0.0.1", backend)) as call:
        call.sendall(b"GET /hello/call HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n")
        while call.recv(4096):
            pass
    connection.sendall(ANSWER)


listener = socket.create_server(("127.0.0.1", port), backlog=128)
print("up", flush=True)
one, _ = listener.accept()
go = threading.Event()
threading.Thread(target=first, args=(one, go)).start()
kept = []
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    request = head(connection)
    connection.sendall(ANSWER)
    if request.startswith(b"GET /second "):
        head(one)
        go.set()
