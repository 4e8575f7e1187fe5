"""A WSGI service on wsgiref with a thread per connection (HTTP/1.0, a connection per request): wsgi.py PORT."""
import socketserver
import sys
import wsgiref.simple_server


def application(environ, start_response):
    parts = environ["PATH_INFO"].split("/")
    kind = parts[1]
    status, body, length = "200 OK", b"hello\n", True
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    elif kind == "bytes":
        body = b"b" * int(parts[2])
    elif kind == "chunked":
        # HTTP/1.0 knows no chunks: the body ends with the connection.
        body, length = b"c" * int(parts[2]), False
    elif kind == "empty":
        status, body, length = "204 No Content", b"", False
    elif kind == "missing":
        status, body = "404 Not Found", b"not found\n"
    elif kind == "fail":
        status, body = "500 Internal Server Error", b"failed\n"
    start_response(status, [("content-length", str(len(body)))] if length else [])
    if length:
        return [body]
    return (body[start:start + 1000] for start in range(0, len(body), 1000))


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


server = wsgiref.simple_server.make_server("127.0.0.1", int(sys.argv[1]), application, Server, Handler)
print("listening", flush=True)
server.serve_forever()
