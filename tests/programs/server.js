// A service on Node's http: server.js PORT. Prints "listening" when it does.
const http = require('http');

function answer(request, response, status, body) {
  response.writeHead(status, { 'content-length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
}

const server = http.createServer((request, response) => {
  const parts = request.url.split('?')[0].split('/');
  if (request.method === 'POST') {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => answer(request, response, 200, Buffer.concat(pieces)));
    return;
  }
  switch (parts[1]) {
    case 'bytes':
      return answer(request, response, 200, Buffer.alloc(Number(parts[2]), 'b'));
    case 'chunked': {
      response.writeHead(200);
      for (let left = Number(parts[2]); left > 0; left -= 1000) response.write('c'.repeat(Math.min(left, 1000)));
      return response.end();
    }
    case 'empty':
      response.writeHead(204);
      return response.end();
    case 'missing':
      return answer(request, response, 404, Buffer.from('not found\n'));
    case 'fail':
      return answer(request, response, 500, Buffer.from('failed\n'));
    case 'slow':
      return setTimeout(() => answer(request, response, 200, Buffer.from('slow\n')), Number(parts[2]));
    case 'call': {
      const path = '/' + parts.slice(3).join('/');
      const call = http.get({ host: '127.0.0.1', port: Number(parts[2]), path }, (reply) => {
        const pieces = [];
        reply.on('data', (piece) => pieces.push(piece));
        reply.on('end', () => answer(request, response, reply.statusCode, Buffer.concat(pieces)));
      });
      call.on('error', () => answer(request, response, 502, Buffer.from('upstream failed\n')));
      return undefined;
    }
    default:
      return answer(request, response, 200, Buffer.from('hello\n'));
  }
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
