// A hop of a chain: hop.js ADDRESS PORT NEXT_HOST NEXT_PORT. Every request waits a moment, is passed on to the next hop, and is
// answered when that has answered. Prints "listening" when it does.
const http = require('http');
const [address, port, host, next] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });
http.createServer((request, answer) => {
  setTimeout(() => {
    http.get({ host, port: next, path: request.url, agent }, (response) => {
      response.resume();
      response.on('end', () => answer.end('hop\n'));
    });
  }, Math.random() * 3);
}).listen(+port, address, () => console.log('listening'));
