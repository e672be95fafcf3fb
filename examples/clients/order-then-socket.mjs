// The client of an older design: it posts an order, and then opens a socket at the same path, with the order's id. It needs the package `ws`.
//
//   node order-then-socket.mjs http://127.0.0.1:3000 1.5 SOL USDC
import WebSocket from 'ws';

const [server, amount, tokenIn, tokenOut] = process.argv.slice(2);

const response = await fetch(`${server}/api/orders/execute`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ tokenIn, tokenOut, amount: Number(amount), orderType: 'market' }),
});
const answer = await response.json();
if (!response.ok) throw new Error(`${response.status} ${answer.code}: ${answer.detail}`);
console.log(`job ${answer.jobId}, order ${answer.orderId}, ${answer.status}`);

const socket = new WebSocket(`${server.replace(/^http/, 'ws')}/api/orders/execute?orderId=${answer.orderId}`);
let status = answer.status;
socket.on('message', (data) => {
  const update = JSON.parse(data);
  console.log(`${update.type}: ${update.message}`);
  if (update.type === 'confirmed') console.log(`price ${update.executionPrice}, transaction ${update.txHash}`);
  status = update.status ?? status;
});
socket.on('close', () => {
  process.exitCode = status === 'confirmed' ? 0 : 1;
});
