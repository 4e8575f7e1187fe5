// Calls through a pool of undici with eight connections: those who come when all are in use wait; with "undici-pipelining" each
// connection has up to four requests under way.
'use strict';
const { Pool } = require('undici');

const pool = new Pool(`http://127.0.0.1:${process.env.BACKEND_PORT}`, {
  connections: 8,
  pipelining: process.env.MODE === 'undici-pipelining' ? 4 : 1,
});

module.exports = async (id) => {
  const { body } = await pool.request({ path: `/out/${id}`, method: 'GET' });
  await body.text();
};
