"""Two processes whose connection is in a sockmap: sockmap.py MODE COUNT GO. The client makes COUNT requests once the file GO is
there; the server answers with BODY bytes. MODE: `past` (an sk_msg program hands what either end sends to the other's queue,
past TCP), `one` (only what the client sends), `look` (an sk_msg program that only passes), `none` (no program)."""
import ctypes
import os
import socket
import struct
import sys
import time

mode, count, go = sys.argv[1], int(sys.argv[2]), sys.argv[3]
BODY = b"b" * 9_000
libc = ctypes.CDLL(None, use_errno=True)
SYS_BPF = 321  # x86-64
MAP_CREATE, MAP_UPDATE, PROG_LOAD, PROG_ATTACH = 0, 2, 5, 8
SOCKHASH, SK_MSG, SK_MSG_VERDICT = 18, 16, 7


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(SYS_BPF, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf command %d" % command)
    return result


def instruction(code, target=0, source=0, offset=0, constant=0):
    return struct.pack("<BBhi", code, target | source << 4, offset, constant)


def program(table):
    passing = [instruction(0xB7, 0, 0, 0, 1), instruction(0x95)]
    handing = [
        instruction(0xBF, 6, 1),  # the message
        instruction(0x61, 2, 1, 60),  # its remote port, in network byte order
        instruction(0xDC, 2, 0, 0, 32),
        instruction(0x63, 10, 2, -4),
        instruction(0xBF, 1, 6),
        instruction(0x18, 2, 1, 0, table),
        instruction(0),
        instruction(0xBF, 3, 10),
        instruction(0x07, 3, 0, 0, -4),
        instruction(0xB7, 4, 0, 0, 1),  # BPF_F_INGRESS
        instruction(0x85, 0, 0, 0, 71),  # bpf_msg_redirect_hash
        instruction(0xB7, 0, 0, 0, 1),
        instruction(0x95),
    ]
    if mode == "one":
        # What goes to the client passes by TCP: over the call of the helper.
        handing.insert(3, instruction(0x55, 2, 0, 8, port))
    code = b"".join(passing if mode == "look" else handing)
    code_at, license_at = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQ", SK_MSG, len(code) // 8, ctypes.addressof(code_at), ctypes.addressof(license_at))
    return bpf(PROG_LOAD, attributes)


def put(table, port, sock):
    key, value = ctypes.c_uint32(port), ctypes.c_uint32(sock.fileno())
    bpf(MAP_UPDATE, struct.pack("<IIQQQ", table, 0, ctypes.addressof(key), ctypes.addressof(value), 0))


def receive(sock, end):
    got = b""
    while not got.endswith(end):
        piece = sock.recv(65536)
        if not piece:
            return b""
        got += piece
    return got


listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
table = bpf(MAP_CREATE, struct.pack("<IIII", SOCKHASH, 4, 4, 16))
if mode != "none":
    bpf(PROG_ATTACH, struct.pack("<IIII", table, program(table), SK_MSG_VERDICT, 0))
enrolled_read, enrolled_write = os.pipe()
if os.fork() == 0:
    client = socket.create_connection(("127.0.0.1", port))
    put(table, client.getsockname()[1], client)
    os.read(enrolled_read, 1)
    print("enrolled", flush=True)
    while not os.path.exists(go):
        time.sleep(0.005)
    for number in range(count):
        client.sendall(b"GET /sm/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
        assert receive(client, BODY).startswith(b"HTTP/1.1 200")
    client.close()
    os._exit(0)
server, _ = listener.accept()
put(table, port, server)
os.write(enrolled_write, b"x")
# A receive that waits while programs are attached to the end of its function returns past them.
while not os.path.exists(go):
    time.sleep(0.005)
while receive(server, b"\r\n\r\n"):
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
server.close()
os.wait()
