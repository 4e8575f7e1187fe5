// The ways that ask a database before or after the call.
'use strict';
const port = Number(process.env.DATABASE_PORT);

// One connection, shared: commands of several requests are under way on it at once.
function redis() {
  const client = require('redis').createClient({ socket: { host: '127.0.0.1', port } });
  const ready = client.connect();
  return async (id) => { await ready; await client.incr(`item:${id}`); };
}

// A connection per query; fewer than requests at once, so that some wait until another's is free.
function postgres() {
  const { Pool } = require('pg');
  const pool = new Pool({ host: '127.0.0.1', port, user: 'links', database: 'postgres', max: 16 });
  // Random times, so that answers come in another order than they were asked for.
  return (id) => pool.query('SELECT $1::int, pg_sleep(random() / 1000)', [id]);
}

module.exports = (call) => {
  const ask = process.env.MODE.startsWith('postgres') ? postgres() : redis();
  const before = async (id) => { await ask(id); await call(`/out/${id}`); };
  const after = async (id) => { await call(`/out/${id}`); await ask(id); };
  return { redis: before, 'redis-after': after, postgres: before, 'postgres-after': after };
};
