"""A client that gives up a call: giving_up.py ADDRESS PORT REQUEST ACT [GO]. Prints `sent`, and after its act the wall clock's
nanoseconds before and behind it; then it stays. REQUEST is a path, or `upload` for a body that does not fit. ACT is close,
shutdown, half (it has shut its sending side before it closes), exit or stay; before it the client waits 0.3 s for the answer, or for the file GO."""
import os
import socket
import sys
import time

address, port, request, act = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
sock = socket.create_connection((address, port))
sock.settimeout(0.3 if act != "stay" else None)
print("connected", flush=True)
try:
    if request == "upload":
        head = b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n"
        sock.sendall(head + b"x" * 20_000_000)
    else:
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % request.encode())
        print("sent", flush=True)
        if act == "half":
            sock.shutdown(socket.SHUT_WR)
        while len(sys.argv) > 5 and not os.path.exists(sys.argv[5]):
            time.sleep(0.005)
        if len(sys.argv) <= 5:
            sock.recv(65536)
except TimeoutError:
    pass
before = time.time_ns()
if act == "exit":
    print("act", before, 0, flush=True)
    os._exit(0)
if act in ("close", "half"):
    sock.close()
if act == "shutdown":
    sock.shutdown(socket.SHUT_RDWR)
print("act", before, time.time_ns(), flush=True)
time.sleep(600)
