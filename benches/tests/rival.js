#!/usr/bin/env node
// A server that confirms every order at once and stores nothing, for the test of the load. Every tenth order's
// WebSocket ends without the order's end.
'use strict';

const { createHash, randomUUID } = require('node:crypto');
const http = require('node:http');

/** By RFC 6455 it is appended to the client's key. */
const HANDSHAKE = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The number of each order, by its id. */
const orders = new Map();

const server = http.createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/orders') {
    const orderId = randomUUID();
    orders.set(orderId, orders.size + 1);
    request.resume().on('end', () => respond(response, 202, JSON.stringify({ orderId })));
  } else if (request.url === '/completed') {
    respond(response, 200, String(orders.size));
  } else {
    respond(response, 404, '');
  }
});

function respond(response, status, body) {
  response.writeHead(status, { 'content-length': Buffer.byteLength(body) }).end(body);
}

server.on('upgrade', (request, socket) => {
  const orderId = request.url.split('/').pop();
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + HANDSHAKE).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const statuses = orders.get(orderId) % 10 === 0 ? ['pending'] : ['pending', 'confirmed'];
  for (const status of statuses) socket.write(frame(JSON.stringify({ orderId, status })));
  socket.end();
  socket.on('error', () => {});
});

/** Returns a short text as one frame. */
function frame(text) {
  return Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]);
}

process.stdin.resume().on('end', () => process.exit());
server.listen(0, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
