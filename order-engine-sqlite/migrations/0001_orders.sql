-- Orders: the columns that SQL users read, and behind them what the engine itself reads. Amounts are
-- decimal text: SQLite's NUMERIC turns into a float above 64 bits.
CREATE TABLE orders (
    order_id         TEXT    NOT NULL PRIMARY KEY,
    user_id          TEXT    NOT NULL,
    client_order_id  TEXT,
    origin           TEXT,
    order_type       TEXT    NOT NULL,
    input_token      TEXT    NOT NULL,
    input_symbol     TEXT    NOT NULL,
    input_decimals   INTEGER NOT NULL,
    output_token     TEXT    NOT NULL,
    output_symbol    TEXT    NOT NULL,
    output_decimals  INTEGER NOT NULL,
    amount           TEXT    NOT NULL,
    slippage_bps     INTEGER NOT NULL,
    expires_at       TEXT,
    not_before       TEXT,
    priority         TEXT    NOT NULL,
    -- The host's own mark, and the JSON object that it attaches.
    tag              TEXT,
    metadata         TEXT,
    status           TEXT    NOT NULL,
    attempt          INTEGER NOT NULL,
    max_attempts     INTEGER NOT NULL,
    chosen_dex       TEXT,
    tx_hash          TEXT,
    execution_price  TEXT,
    amount_out       TEXT,
    -- Set when the order has failed for good, and only then.
    error_code       TEXT,
    error_message    TEXT,
    -- Why an operator should look at the order, if one should.
    attention        TEXT,
    created_at       TEXT    NOT NULL,
    updated_at       TEXT    NOT NULL,
    -- How many events the order has: its revision.
    seq              INTEGER NOT NULL,
    -- The request stays as it was written; the state is written anew by each version of the software.
    request_version  INTEGER NOT NULL,
    request          TEXT    NOT NULL,
    state_version    INTEGER NOT NULL,
    state            TEXT    NOT NULL,
    -- Which workers take the order when it is due; none once it is terminal.
    lane             TEXT,
    -- When the order is due, in milliseconds since 1970. A leased order's due time is the expiry of its
    -- lease, so the orders of a dead worker become due by themselves.
    due_at           INTEGER,
    -- When the turn of the order comes among those that are due; nothing if that is when it is due.
    turn_at          INTEGER,
    -- Its turn does not come before this, and comes earlier than it is due by the head start, in milliseconds.
    handicap_until   INTEGER NOT NULL,
    head_start       INTEGER NOT NULL,
    lease_epoch      INTEGER NOT NULL DEFAULT 0,
    lease_owner      TEXT,
    claims_without_progress INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Terminal orders are in no index that a claim reads. An order whose turn comes when it is due, as that of most
-- does, is in the first one only; the others are in the other two. Each has all three columns, so that counting
-- and looking for the next due time read no row.
CREATE INDEX orders_due ON orders (lane, due_at, turn_at) WHERE due_at IS NOT NULL AND turn_at IS NULL;
CREATE INDEX orders_turn_due ON orders (lane, due_at, turn_at) WHERE turn_at IS NOT NULL;
CREATE INDEX orders_turn ON orders (lane, turn_at, due_at) WHERE turn_at IS NOT NULL;
-- A user's orders, and those with a tag, newest first.
CREATE INDEX orders_user ON orders (user_id, order_id);
CREATE INDEX orders_tag ON orders (tag, order_id) WHERE tag IS NOT NULL;
CREATE UNIQUE INDEX orders_client_order_id ON orders (user_id, client_order_id) WHERE client_order_id IS NOT NULL;
-- The few orders that an operator should look at, and the few that failed. Open orders are in the index of
-- due orders, and confirmed ones are most of the table.
CREATE INDEX orders_attention ON orders (order_id) WHERE attention IS NOT NULL;
CREATE INDEX orders_failed ON orders (order_id) WHERE status = 'failed';

-- The history: a row for the events of each write. The payload is a JSON array of them, oldest first.
-- The position is the place in the feed. AUTOINCREMENT gives no position twice, also after the last rows were
-- deleted. There is one writer at a time, so positions become visible in their order.
CREATE TABLE order_writes (
    position        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    order_id        TEXT    NOT NULL,
    first_seq       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    payload_version INTEGER NOT NULL,
    payload         TEXT    NOT NULL,
    UNIQUE (order_id, first_seq)
) STRICT;

-- The events, one a row. What an event has in common with the first one of its write stands there only. A damaged payload
-- shows none, and harms no other.
CREATE VIEW order_events AS
SELECT
    position,
    order_id,
    first_seq + event.key AS seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(event.value ->> 'at', payload ->> '$[0].at')) AS at,
    event.value ->> '$.event.kind' AS kind,
    event.value ->> 'status' AS status,
    event.value ->> 'progress' AS progress,
    coalesce(event.value ->> 'attempt', payload ->> '$[0].attempt') AS attempt,
    coalesce(event.value ->> 'max_attempts', payload ->> '$[0].max_attempts') AS max_attempts,
    event.value ->> 'message' AS message
FROM order_writes, json_each(CASE WHEN json_valid(payload) THEN payload ELSE '[]' END) AS event;

CREATE TABLE order_failures (
    order_id TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    code     TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    at       TEXT    NOT NULL,
    PRIMARY KEY (order_id, seq)
) STRICT, WITHOUT ROWID;

-- The nonces that orders have reserved. A purge finds those of its orders by the index.
-- A value that is no number is number 0 of an account whose name stands for the account and the value.
CREATE TABLE account_nonces (
    venue    TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    value    INTEGER NOT NULL,
    order_id TEXT    NOT NULL,
    PRIMARY KEY (venue, account, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX account_nonces_order ON account_nonces (order_id);

-- The readable columns, and the messages of the events, oldest first, as a JSON array.
CREATE VIEW order_logs AS
SELECT
    order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, output_token, output_symbol,
    amount, slippage_bps, expires_at, not_before, priority, tag, metadata, status, attempt, max_attempts, chosen_dex,
    tx_hash, execution_price, amount_out, error_code, error_message, attention, created_at, updated_at,
    (
        SELECT json_group_array(message)
        FROM (SELECT message FROM order_events WHERE order_events.order_id = orders.order_id ORDER BY seq)
    ) AS logs
FROM orders;

-- The registered durable sinks. Every write of events adds outbox entries for each of them.
CREATE TABLE sinks (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;

-- The outbox: one entry for each order of which a sink still lacks events, however many.
CREATE TABLE outbox_entries (
    order_id      TEXT    NOT NULL,
    sink          TEXT    NOT NULL,
    -- The number of the last event that the sink has.
    delivered_seq INTEGER NOT NULL,
    -- Both times are in milliseconds since 1970. A leased entry is due when its lease expires.
    pending_since INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    lease_epoch   INTEGER NOT NULL DEFAULT 0,
    lease_owner   TEXT,
    failures      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, sink)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_entries_due ON outbox_entries (sink, due_at);

-- What operators have paused. The scope is a JSON text, the same for the same scope.
CREATE TABLE pauses (
    activity TEXT NOT NULL,
    scope    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    since    TEXT NOT NULL,
    PRIMARY KEY (activity, scope)
) STRICT, WITHOUT ROWID;

-- The row that a readiness check writes: only a write shows that writing works.
CREATE TABLE writable (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), checked_at INTEGER NOT NULL) STRICT;

-- The clock of all processes that use the file: the time since a boot of the machine, plus an offset. All
-- three are in milliseconds, `reached_ms` since 1970.
CREATE TABLE clock (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- The boot that the offset belongs to; none where the system does not distinguish its boots.
    boot_id    TEXT,
    offset_ms  INTEGER NOT NULL,
    -- Nothing was written later than this. It is a moment ahead, so that not every write has to move it.
    reached_ms INTEGER NOT NULL
) STRICT;
