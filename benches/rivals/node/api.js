// The HTTP API: takes orders, and relays their progress over a WebSocket for each.
import { randomUUID } from 'node:crypto';

import websocket from '@fastify/websocket';
import { Queue } from 'bullmq';
import Fastify from 'fastify';

import { QUEUE, channel, connectRedis, migrate, pool } from './orders.js';

/** Without it a socket first gets the stored status, so that it misses nothing that happened before it came. */
const relayOnly = process.env.RELAY_ONLY === '1';

const queue = new Queue(QUEUE, { connection: connectRedis() });
const subscriber = connectRedis();
/** The sockets that follow an order, by its channel. */
const followers = new Map();

const app = Fastify();
await app.register(websocket);

const orderSchema = {
  body: {
    type: 'object',
    required: ['tokenIn', 'tokenOut', 'amount'],
    properties: {
      tokenIn: { type: 'string' },
      tokenOut: { type: 'string' },
      amount: { type: 'string', pattern: '^[0-9]+(\\.[0-9]+)?$' },
    },
  },
};

app.post('/orders', { schema: orderSchema }, async (request, reply) => {
  const { tokenIn, tokenOut, amount } = request.body;
  const id = randomUUID();
  await pool.query(
    "INSERT INTO orders (id, token_in, token_out, amount, status) VALUES ($1, $2, $3, $4, 'pending')",
    [id, tokenIn, tokenOut, amount],
  );
  // A crash before this line leaves an order that no worker ever sees.
  await queue.add('execute', { id, tokenIn, tokenOut, amount }, {
    jobId: id,
    attempts: 3,
    backoff: { type: 'exponential', delay: 1_000 },
    removeOnComplete: true,
  });
  return reply.code(202).send({ orderId: id, status: 'pending' });
});

app.get('/completed', async () => {
  const { rows } = await pool.query("SELECT count(*) AS count FROM orders WHERE status = 'confirmed'");
  return rows[0].count;
});

app.get('/ws/orders/:id', { websocket: true }, async (socket, request) => {
  const { id } = request.params;
  const name = channel(id);
  socket.on('close', () => leave(name, socket));
  if (await join(name, socket) && !relayOnly) {
    const { rows } = await pool.query('SELECT status FROM orders WHERE id = $1', [id]);
    relay(socket, JSON.stringify({ orderId: id, status: rows[0]?.status ?? 'unknown' }));
  }
});

/** Returns whether the socket is still open once its channel is subscribed. */
async function join(name, socket) {
  const sockets = followers.get(name) ?? new Set();
  followers.set(name, sockets.add(socket));
  await subscriber.subscribe(name);
  return socket.readyState === socket.OPEN;
}

function leave(name, socket) {
  const sockets = followers.get(name);
  sockets?.delete(socket);
  if (sockets?.size === 0) {
    followers.delete(name);
    subscriber.unsubscribe(name);
  }
}

function relay(socket, text) {
  if (socket.readyState !== socket.OPEN) return;
  socket.send(text);
  if (JSON.parse(text).status === 'confirmed') socket.close();
}

subscriber.on('message', (name, text) => {
  for (const socket of followers.get(name) ?? []) relay(socket, text);
});

// The server that started it is gone.
process.on('disconnect', () => process.exit());

await migrate();
const address = await app.listen({ host: '127.0.0.1', port: 0 });
process.send(new URL(address).host);
