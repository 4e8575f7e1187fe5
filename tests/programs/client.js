// Makes the requests listed on standard input and says what came back: client.js PORT.
const http = require('http');
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function next() {
  const line = lines.shift();
  if (line === undefined) return agent.destroy();
  const [method, path, size] = line.split(' ');
  const headers = size === '0' ? {} : { 'content-length': size };
  const request = http.request({ agent, host: '127.0.0.1', port: process.argv[2], method, path, headers }, (response) => {
    let received = 0;
    response.on('data', (piece) => { received += piece.length; });
    response.on('end', () => {
      console.log(method, path, response.statusCode, size, received);
      next();
    });
  });
  request.end('p'.repeat(Number(size)));
  return undefined;
}
next();
