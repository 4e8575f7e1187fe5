"""Makes the requests listed on standard input ("METHOD PATH SIZE") over one connection and says what came back
("METHOD PATH STATUS SENT RECEIVED"): client.py PORT."""
import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for line in sys.stdin:
    method, path, size = line.split()
    connection.request(method, path, body=b"p" * int(size) if size != "0" else None)
    response = connection.getresponse()
    received = len(response.read())
    print(method, path, response.status, size, received, flush=True)
