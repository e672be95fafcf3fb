// What the API and the worker share: the connections, and the table of orders.
import { Redis } from 'ioredis';
import pg from 'pg';

/** The BullMQ queue of the orders. */
export const QUEUE = 'orders';

/** The most connections to the database. Commits of several connections share the syncs of the log. */
const connections = Number(process.env.CONNECTIONS ?? 32);

export const slots = Number(process.env.SLOTS ?? 64);

export const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: connections });

/** Returns a new connection to Redis, with the setting that BullMQ's workers need. */
export const connectRedis = () => new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });

/** Returns the Redis channel with the progress of an order. */
export const channel = (id) => `order:${id}`;

export async function migrate() {
  await pool.query(`CREATE TABLE IF NOT EXISTS orders (
    id uuid PRIMARY KEY,
    token_in text NOT NULL,
    token_out text NOT NULL,
    amount numeric NOT NULL,
    status text NOT NULL,
    venue text,
    price numeric,
    signature text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
  )`);
}
