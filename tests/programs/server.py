"""A service on http.server (HTTP/1.1, a thread per connection): server.py PORT. Prints "listening" when it does."""
import http.client
import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go out in two writes: the second must not wait for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self):
        parts = self.path.split("?")[0].split("/")
        kind = parts[1]
        if kind == "bytes":
            self.answer(200, b"b" * int(parts[2]))
        elif kind == "chunked":
            self.chunked(int(parts[2]))
        elif kind == "empty":
            self.send_response(204)
            self.end_headers()
        elif kind == "missing":
            self.answer(404, b"not found\n")
        elif kind == "fail":
            self.answer(500, b"failed\n")
        elif kind == "call":
            self.call(int(parts[2]), "/" + "/".join(parts[3:]))
        else:
            self.answer(200, b"hello\n")

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(200, self.rfile.read(int(self.headers.get("content-length", 0))))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunked(self, size):
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while size > 0:
            piece = min(size, 1000)
            self.wfile.write(b"%x\r\n%s\r\n" % (piece, b"c" * piece))
            size -= piece
        self.wfile.write(b"0\r\n\r\n")

    def call(self, port, path):
        """Asks the service on that port and hands its answer on."""
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        self.answer(response.status, body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
