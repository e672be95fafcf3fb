// The worker: executes the orders of the queue, and stores and publishes the status after each step.
import { randomBytes } from 'node:crypto';

import { Worker } from 'bullmq';

import { QUEUE, channel, connectRedis, pool, slots } from './orders.js';

const publisher = connectRedis();

/** The exchanges are mocked, and answer at once. */
const exchanges = [
  { name: 'raydium', quote: async (amount) => ({ venue: 'raydium', out: amount * 150 * (1 - 0.0025) }) },
  { name: 'meteora', quote: async (amount) => ({ venue: 'meteora', out: amount * 150.3 * (1 - 0.002) }) },
];
const buildTransaction = async (order, quote) => ({ ...order, ...quote, blockhash: randomBytes(32).toString('hex') });
const submitTransaction = async () => randomBytes(64).toString('hex');
const confirmTransaction = async () => true;

async function execute({ data: order }) {
  await advance(order.id, 'routing', {});
  const quotes = await Promise.all(exchanges.map(({ quote }) => quote(Number(order.amount))));
  const best = quotes.reduce((left, right) => (right.out > left.out ? right : left));
  await advance(order.id, 'building', { venue: best.venue, price: best.out / Number(order.amount) });
  const transaction = await buildTransaction(order, best);
  // A crash after this line repeats the job, and the submission with it.
  const signature = await submitTransaction(transaction);
  await advance(order.id, 'submitted', { signature });
  await confirmTransaction(signature);
  await advance(order.id, 'confirmed', {});
}

/** Stores a status, and then tells those who follow the order. */
async function advance(id, status, { venue, price, signature }) {
  await pool.query(
    `UPDATE orders SET status = $2, venue = coalesce($3, venue), price = coalesce($4, price),
       signature = coalesce($5, signature), updated_at = now() WHERE id = $1`,
    [id, status, venue, price, signature],
  );
  await publisher.publish(channel(id), JSON.stringify({ orderId: id, status, venue, price, signature }));
}

const worker = new Worker(QUEUE, execute, { connection: connectRedis(), concurrency: slots });
worker.on('failed', (job, error) => console.error(`order ${job?.id}:`, error));

// The server that started it is gone.
process.on('disconnect', () => process.exit());

await worker.waitUntilReady();
process.send('ready');
