// Places an order and watches it to its end. Stop the server in the middle and start it again: no event is missed.
import { Client, InDoubt, Refused, type Event, type OrderForm } from 'order-engine-client';

const [amount, tokenIn, tokenOut] = process.argv.slice(2);
if (amount === undefined || tokenIn === undefined || tokenOut === undefined) {
  throw new Error('which order? place-and-watch 1.5 SOL USDC');
}
// ORDER_ENGINE_URL, ORDER_ENGINE_KEY, or the file that the command line reads as well.
const client = Client.fromEnv();
const form: OrderForm = { amount, tokenIn, tokenOut, slippageBps: 50 };
try {
  const quote = await client.quote({ amount, tokenIn, tokenOut });
  console.log(`about ${quote.amountOut ?? 'nothing'} ${tokenOut}`);
  const placed = await client.place(form);
  console.log(`order ${placed.orderId} under the key ${placed.clientOrderId}`);
  let last: Event | undefined;
  const events = await client.follow(placed.orderId, { onInterrupted: (reason) => console.error(`interrupted: ${reason}`) });
  for await (const event of events) {
    console.log(`${event.seq} ${event.progress}% ${event.message}`);
    last = event;
  }
  if (last?.status !== 'confirmed') process.exitCode = 1;
} catch (error) {
  if (error instanceof InDoubt) console.error(`in doubt; repeat with the key ${error.key}`);
  else if (error instanceof Refused) console.error(`${error.problem.status} ${error.code}`);
  else throw error;
  process.exitCode = 1;
}
