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
    lease_epoch      INTEGER NOT NULL DEFAULT 0,
    lease_owner      TEXT,
    claims_without_progress INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Terminal orders are in no index that a claim reads.
CREATE INDEX orders_due ON orders (lane, due_at) WHERE due_at IS NOT NULL;
-- A user's orders, newest first.
CREATE INDEX orders_user ON orders (user_id, order_id);
CREATE UNIQUE INDEX orders_client_order_id ON orders (user_id, client_order_id) WHERE client_order_id IS NOT NULL;
-- The few orders that an operator should look at, and the few that failed. Open orders are in the index of
-- due orders, and confirmed ones are most of the table.
CREATE INDEX orders_attention ON orders (order_id) WHERE attention IS NOT NULL;
CREATE INDEX orders_failed ON orders (order_id) WHERE status = 'failed';

-- A table with rowids, although each row is found by its key: the payloads are large, and a table
-- without rowids keeps them in the inner pages of its tree, which doubles the file and the time.
CREATE TABLE order_events (
    order_id        TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    at              TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    progress        INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    max_attempts    INTEGER NOT NULL,
    message         TEXT    NOT NULL,
    payload_version INTEGER NOT NULL,
    payload         TEXT    NOT NULL,
    PRIMARY KEY (order_id, seq)
) STRICT;

CREATE TABLE order_failures (
    order_id TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    code     TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    at       TEXT    NOT NULL,
    PRIMARY KEY (order_id, seq)
) STRICT, WITHOUT ROWID;

-- The readable columns, and the messages of the events, oldest first, as a JSON array.
CREATE VIEW order_logs AS
SELECT
    order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, output_token, output_symbol,
    amount, slippage_bps, expires_at, status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out,
    error_code, error_message, attention, created_at, updated_at,
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
