// A Node service that calls another for each request, in the way that MODE names.
'use strict';
const http = require('http');
const fs = require('fs');
const { Worker, isMainThread, parentPort } = require('worker_threads');

const { PORT, BACKEND_PORT, MODE } = process.env;
const host = MODE === 'resolve' ? 'localhost' : '127.0.0.1';
const agent = new http.Agent({ keepAlive: MODE !== 'close', maxSockets: MODE === 'pool' ? 8 : Infinity });

// Where the call of an ID that ends in c goes, nobody listens.
function place(path) {
  const id = path.split(/[/.]/)[2];
  return id.endsWith('c') && !path.endsWith('.2') ? `127.0.1.${Number(id.slice(-3, -1))}` : host;
}

function call(path) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: place(path), port: BACKEND_PORT, path, agent }, (response) => {
      let size = 0;
      response.on('data', (chunk) => { size += chunk.length; });
      response.on('end', () => resolve({ status: response.statusCode, size }));
      response.on('aborted', () => reject(new Error('aborted')));
    }).on('error', reject);
    request.setTimeout(150, () => request.destroy(new Error('timeout')));
  });
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const tick = () => new Promise((resolve) => { process.nextTick(resolve); });
const turn = () => new Promise((resolve) => { setImmediate(resolve); });
const read = () => fs.promises.readFile(__filename);

const ways = {
  plain: (id) => call(`/out/${id}`),
  big: (id) => call(`/big/${id}`),
  fetch: async (id) => (await fetch(`http://127.0.0.1:${BACKEND_PORT}/out/${id}`)).text(),
  timer: async (id) => { await pause(1 + Math.random() * 3); await call(`/out/${id}`); },
  bigtimer: async (id) => { await pause(1 + Math.random() * 3); await call(`/big/${id}`); },
  immediate: async (id) => { await turn(); await call(`/out/${id}`); },
  file: async (id) => { await read(); await call(`/out/${id}`); },
  mixed: async (id) => {
    await [turn, read, () => pause(1), () => null][Math.floor(Math.random() * 4)]();
    await call(`/out/${id}`);
  },
  three: (id) => Promise.all([1, 2, 3].map((n) => call(`/out/${id}.${n}`))),
  row: async (id) => { await call(`/out/${id}.1`); await call(`/out/${id}.2`); },
  chain: async (id) => { for (const n of [1, 2, 3]) await call(`/out/${id}.${n}`); },
  'chain-tick': async (id) => { await call(`/out/${id}.1`); await tick(); await call(`/out/${id}.2`); },
  'chain-immediate': async (id) => { await call(`/out/${id}.1`); await turn(); await call(`/out/${id}.2`); },
  'chain3-immediate': async (id) => { for (const n of [1, 2, 3]) { await call(`/out/${id}.${n}`); if (n < 3) await turn(); } },
  'chain3-both': async (id) => { for (const n of [1, 2, 3]) { await turn(); await call(`/out/${id}.${n}`); await tick(); } },
  fallback: async (id) => {
    const first = await call(`/out/${id}.1`).catch(() => ({ status: 0 }));
    if (first.status !== 200) await call(`/out/${id}.2`);
  },
  async: async (id) => { await null; await call(`/out/${id}.1`); await null; await call(`/out/${id}.2`); },
  // A second call where the first takes long; the first answer counts.
  hedge: (id) => Promise.race([call(`/out/${id}.1`), pause(1).then(() => call(`/out/${id}.2`))]),
  retry: async (id) => {
    let tries = 1;
    while ((await call(`/flaky/${id}.${tries}`)).status !== 200) {
      tries += 1;
      await pause(2);
    }
  },
};
// The packages are only there for these.
if (/^(redis|postgres)/.test(MODE)) Object.assign(ways, require('./databases')(call));
if (MODE.startsWith('undici')) ways[MODE] = require('./undici-pool');
ways.close = ways.resolve = ways.pool = ways.poller = ways.plain;

// A timer's calls beside the requests.
if (MODE === 'poller') {
  let n = 0;
  setInterval(() => { n += 1; call(`/poll/${n}`).catch(() => {}); }, 3);
}

// Single flight: who asks while a call is under way waits for its answer.
let flight = null;
ways.coalesce = (id) => {
  flight ??= call(`/out/${id}`).finally(() => { flight = null; });
  return flight;
};

// A cache: a request that finds it stale refreshes it, the others are answered from it; a timer refreshes it too.
let cached = 0;
let refreshing = false;
ways.cache = async (id) => {
  if (refreshing || Date.now() - cached < 3) return;
  refreshing = true;
  try { await call(`/out/${id}`); } finally { refreshing = false; }
  cached = Date.now();
};
if (MODE === 'cache') {
  let n = 0;
  setInterval(async () => { n += 1; await call(`/poll/${n}`).catch(() => {}); cached = Date.now(); }, 7);
}

// One call at a time: each begins when the one before has ended.
let tail = Promise.resolve();
ways.serial = (id) => {
  const mine = tail.then(() => call(`/out/${id}`));
  tail = mine.catch(() => {});
  return mine;
};

// Another thread makes the calls; requests and answers pass it as messages.
if (!isMainThread) {
  parentPort.on('message', (id) => call(`/out/${id}`).then(() => parentPort.postMessage(id)));
  return;
}
const waiting = new Map();
if (MODE === 'worker') {
  const worker = new Worker(__filename);
  worker.on('message', (id) => { waiting.get(id)(); waiting.delete(id); });
  ways.worker = (id) => new Promise((resolve) => { waiting.set(id, resolve); worker.postMessage(id); });
}

// A batcher: what was asked for within 2 ms becomes one call.
let batch = null;
ways.batch = (id) => {
  if (!batch) {
    const ids = [];
    batch = { ids, done: pause(2).then(() => { batch = null; return call(`/batch/${ids.join(',')}`); }) };
  }
  batch.ids.push(id);
  return batch.done;
};

const server = http.createServer(async (request, response) => {
  const id = request.url.split('/')[2];
  if (MODE === 'after') {
    response.end('accepted\n');
    call(`/out/${id}`).catch(() => {});
    return;
  }
  if (MODE === 'later') {
    response.end('accepted\n');
    setTimeout(() => call(`/out/${id}`).catch(() => {}), 2);
    return;
  }
  try {
    await ways[MODE](id);
    response.end('done\n');
  } catch (err) {
    response.statusCode = 502;
    response.end(`${err}\n`);
  }
});
server.keepAliveTimeout = 60000;
server.listen(PORT, '127.0.0.1');
