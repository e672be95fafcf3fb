-- Orders as SQL users read them, and, behind the public columns, what the engine itself reads.
-- Amounts are decimal text: SQLite's NUMERIC turns into a float above 64 bits.
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
    error_code       TEXT,
    error_message    TEXT,
    -- Why an operator should look at the order, if one should.
    attention        TEXT,
    created_at       TEXT    NOT NULL,
    updated_at       TEXT    NOT NULL,
    -- How many events the order has: its revision.
    seq              INTEGER NOT NULL,
    payload_version  INTEGER NOT NULL,
    request          TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    -- Which loop of the engine takes the order when it is due; none once it is terminal.
    lane             TEXT,
    -- When the order is due, in milliseconds since 1970. A leased order's due time is the expiry
    -- of its lease, so a dead worker's orders fall due by themselves.
    due_at           INTEGER,
    lease_epoch      INTEGER NOT NULL DEFAULT 0,
    lease_owner      TEXT,
    claims_without_progress INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Finished orders are in no index that a claim reads.
CREATE INDEX orders_due ON orders (lane, due_at) WHERE due_at IS NOT NULL;
-- A user's orders, newest first.
CREATE INDEX orders_user ON orders (user_id, order_id);
-- The few orders that an operator should look at.
CREATE INDEX orders_attention ON orders (order_id) WHERE attention IS NOT NULL;
CREATE UNIQUE INDEX orders_client_order_id ON orders (user_id, client_order_id) WHERE client_order_id IS NOT NULL;

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

-- The public columns, with the events' messages in order as a JSON array.
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

-- One row that a readiness check writes: only a write shows that writing works.
CREATE TABLE writable (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), checked_at INTEGER NOT NULL) STRICT;

-- The clock of all who use the file: the time since a boot of the machine, plus an offset. All of it in
-- milliseconds, those of a moment since 1970.
CREATE TABLE clock (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- The boot that the offset belongs to; none where the system does not tell its boots apart.
    boot_id    TEXT,
    offset_ms  INTEGER NOT NULL,
    -- Nothing was written later than this. It is a moment ahead, so that not every write has to move it.
    reached_ms INTEGER NOT NULL
) STRICT;
