// Orders are placed once, whatever happens to requests and answers.
import { randomUUID } from 'node:crypto';

import { InDoubt, Refused, Unexpected } from './errors.js';
import { parsed } from './http.js';

/** Gives an order a name, if it has none. */
export function named(form) {
  return { ...form, clientOrderId: form.clientOrderId ?? randomUUID() };
}

/** Places a named order, and repeats what may be. */
export async function place(client, http, form, repeats) {
  const body = JSON.stringify(form);
  let isInDoubt = false;
  for (;;) {
    try {
      const { headers, text } = await http.call('POST', '/api/orders/execute', body);
      return placed(parsed(text), form, headers.get('idempotency-replayed') === 'true');
    } catch (error) {
      isInDoubt ||= error.leavesDoubt;
      if (!(await repeats.wait(error))) return settle(client, http, form, isInDoubt, error);
    }
  }
}

/** Places named orders by one request, and repeats those of which it is not known what became. Returns a result for each. */
export async function placeAll(client, http, forms, repeats) {
  const results = forms.map(() => undefined);
  let open = forms.map((form, index) => ({ form, index, isInDoubt: false }));
  while (open.length > 0) {
    const answers = await placeBatch(http, open.map(({ form }) => form));
    const again = [];
    for (const [n, order] of open.entries()) {
      const answer = answers[n];
      if (!(answer instanceof Error)) {
        results[order.index] = { order: answer };
        continue;
      }
      order.isInDoubt ||= answer.leavesDoubt;
      if (answer.isRepeated) again.push({ ...order, error: answer });
      else results[order.index] = await settled(client, http, order, answer);
    }
    if (again.length === 0 || (await repeats.wait(again[0].error))) {
      open = again;
      continue;
    }
    for (const order of again) results[order.index] = await settled(client, http, order, order.error);
    open = [];
  }
  return results;
}

async function placeBatch(http, forms) {
  try {
    const { text } = await http.call('POST', '/api/orders/batch', JSON.stringify({ orders: forms }));
    const { results } = parsed(text);
    if (results?.length !== forms.length) throw new Unexpected(`${results?.length} results for ${forms.length} orders`);
    return results.map((result, n) => outcome(result, (order) => placed(order, forms[n], result.httpStatus === 200)));
  } catch (error) {
    // What became of the request became of all.
    return forms.map(() => error);
  }
}

/** Returns the order of a result, or its failure. */
export function outcome({ order, problem }, ofOrder = (it) => it) {
  if (order !== undefined) return ofOrder(order);
  // It has no header of its own: what may be tried again may be at once.
  const mayPass = problem.status === 503 || problem.code === 'too-many-requests';
  return new Refused(problem, mayPass ? 0 : undefined);
}

async function settled(client, http, order, error) {
  try {
    return { order: await settle(client, http, order.form, order.isInDoubt, error) };
  } catch (final) {
    return { error: final };
  }
}

/**
 * Says what became of an order after the last failure. If an earlier request may have placed it, a refusal of the repetition says nothing of
 * that one, so the server is asked.
 */
async function settle(client, http, form, isInDoubt, error) {
  // A name is one order's: if it is another one's, this one was not placed.
  if (!isInDoubt || error.code === 'idempotency-conflict') throw error;
  if (!error.isRepeated) {
    const order = await client.orderNamed(form.clientOrderId, { userId: form.userId }).catch(() => undefined);
    if (order !== undefined) {
      const { orderId, status, createdAt } = order;
      const wsUrl = `${http.url.replace(/^http/, 'ws')}/ws/orders/${orderId}`;
      return placed({ orderId, status, wsUrl, jobId: orderId, createdAt }, form, true);
    }
  }
  throw new InDoubt(form.clientOrderId, error);
}

function placed(answer, form, isReplay) {
  return { ...answer, clientOrderId: form.clientOrderId, isReplay };
}
