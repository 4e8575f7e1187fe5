"""A connection that one process accepts and reads, and another one answers: passed.py worker PATH | dispatcher PATH PORT."""
import socket
import sys

if sys.argv[1] == "worker":
    local = socket.socket(socket.AF_UNIX)
    local.bind(sys.argv[2])
    local.listen()
    print("listening", flush=True)
    _, descriptors, _, _ = socket.recv_fds(local.accept()[0], 16, 1)
    connection = socket.socket(fileno=descriptors[0])
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    connection.close()
else:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[3])))
    print("listening", flush=True)
    connection, _ = listener.accept()
    connection.recv(65536)
    worker = socket.socket(socket.AF_UNIX)
    worker.connect(sys.argv[2])
    socket.send_fds(worker, [b"x"], [connection.fileno()])
    connection.close()
