-- Sinks that are told every event at least once. Whoever writes events makes each of them a creditor.
CREATE TABLE sinks (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;

-- What sinks are owed: one row for each order of which a sink lacks events, however many.
CREATE TABLE outbox_entries (
    order_id      TEXT    NOT NULL,
    sink          TEXT    NOT NULL,
    -- The number of the last event that the sink has.
    delivered_seq INTEGER NOT NULL,
    -- In milliseconds since 1970, as the next one. A leased debt is due when its lease expires.
    pending_since    INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    lease_epoch   INTEGER NOT NULL DEFAULT 0,
    lease_owner   TEXT,
    failures      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, sink)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_entries_due ON outbox_entries (sink, due_at);

-- The few orders that failed, newest first. Those that are open stand in the index of due orders, and
-- those that were confirmed are most of the table.
CREATE INDEX orders_failed ON orders (order_id) WHERE status = 'failed';
