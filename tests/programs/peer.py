"""One end of connections that follow a script: peer.py listen|connect ADDRESS PORT SCRIPT, a JSON list with one list of
actions per connection. What an action waits for, it waits for without a clock."""
import json
import os
import select
import socket
import struct
import sys
import threading
import time

role, address, port, script = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET


class Peer:
    def __init__(self, sock):
        self.sock = sock
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.threads = []

    def play(self, actions):
        for name, *arguments in actions:
            getattr(self, name)(*arguments)

    def beside(self, *actions):
        """Goes on with what follows while another thread does these."""
        thread = threading.Thread(target=self.play, args=(actions,))
        thread.start()
        self.threads.append(thread)

    def joined(self):
        for thread in self.threads:
            thread.join()

    def narrow(self):
        """Only so few bytes are on their way at a time that a larger body keeps the call that sends it waiting."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    def send(self, text):
        self.sock.sendall(text.encode("latin-1"))

    def fill(self, size):
        """Sends that many bytes of body."""
        self.sock.sendall(b"f" * size)

    def flood(self, text, size):
        """Sends text and so many bytes of body in one call, which may end in a reset."""
        try:
            self.sock.sendall(text.encode("latin-1") + b"f" * size)
        except (ConnectionResetError, BrokenPipeError):
            pass

    def until(self, text):
        """Receives until the text has come; what follows it stays for the next action."""
        end = text.encode("latin-1")
        while end not in self.got:
            piece = self.sock.recv(65536)
            if not piece:
                raise SystemExit("the other side closed before %r, after %r" % (text, self.got))
            self.got += piece
        self.got = self.got[self.got.index(end) + len(end):]

    def read(self, size):
        left = size - len(self.got)
        self.got = self.got[size:]
        while left > 0:
            piece = self.sock.recv(min(left, 65536))
            if not piece:
                raise SystemExit("the other side closed early")
            left -= len(piece)

    def whole(self, size):
        """One call that receives so many bytes, or what comes before a reset."""
        self.sock.recv(size, socket.MSG_WAITALL)

    def consumed(self):
        """Waits until the other side has read all that was sent (IPv4, the same network namespace)."""
        own, peer = ("%04X" % end[1] for end in (self.sock.getsockname(), self.sock.getpeername()))
        while True:
            for row in open("/proc/net/tcp").read().splitlines():
                words = row.split()
                if words[1].endswith(":" + peer) and words[2].endswith(":" + own) and words[4].endswith(":00000000"):
                    return
            time.sleep(0.005)

    def eof(self):
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass

    def left(self):
        """Waits until the other side has closed, and reads nothing."""
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP)
        poll.poll()

    def shutdown(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def touch(self, path):
        open(path, "w").close()

    def wait(self, path):
        while not os.path.exists(path):
            time.sleep(0.005)


def play(sock, actions):
    peer = Peer(sock)
    peer.play(actions)
    peer.joined()
    peer.sock.close()


if role == "listen":
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    print("listening", flush=True)
    for actions in script:
        play(listener.accept()[0], actions)
else:
    for actions in script:
        sock = socket.socket(family)
        sock.connect((address, port))
        play(sock, actions)
print("done", flush=True)
