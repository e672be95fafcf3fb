-- What never changes of an order, as it was accepted. An @ stands for the schema.
CREATE TABLE @order_heads (
    order_id         uuid           NOT NULL PRIMARY KEY,
    user_id          text           NOT NULL COLLATE "C",
    client_order_id  text           COLLATE "C",
    origin           uuid,
    order_type       text           NOT NULL,
    input_token      text           NOT NULL,
    input_symbol     text           NOT NULL,
    input_decimals   smallint       NOT NULL,
    output_token     text           NOT NULL,
    output_symbol    text           NOT NULL,
    output_decimals  smallint       NOT NULL,
    amount           numeric(39, 0) NOT NULL,
    slippage_bps     integer        NOT NULL,
    expires_at       timestamptz,
    not_before       timestamptz,
    priority         text           NOT NULL,
    -- The host's own mark, and what else it attaches.
    tag              text           COLLATE "C",
    metadata         jsonb,
    created_at       timestamptz    NOT NULL,
    -- The request stays as it was written.
    request_version  bigint         NOT NULL,
    request          text           NOT NULL
);

-- A user's orders, newest first.
CREATE INDEX order_heads_user ON @order_heads (user_id, order_id);
CREATE INDEX order_heads_tag ON @order_heads (tag, order_id) WHERE tag IS NOT NULL;
CREATE UNIQUE INDEX order_heads_client_order_id ON @order_heads (user_id, client_order_id)
    WHERE client_order_id IS NOT NULL;

-- What changes of an order, and its place in the queue. Each order has one row here and one among the heads; this one is
-- written anew by each claim and by each write of events, so it is small.
CREATE TABLE @order_states (
    order_id         uuid           NOT NULL PRIMARY KEY,
    -- How many events the order has: its revision.
    seq              bigint         NOT NULL,
    -- The position of the last event in the feed.
    position         bigint         NOT NULL,
    -- When the order is due. A leased order's due time is the expiry of its lease, so the orders of a dead
    -- worker become due by themselves.
    due_at           timestamptz,
    -- When the order's turn comes among those that are due: when it becomes due, but not before the end of
    -- its handicap, and earlier than that by its head start.
    turn_at          timestamptz,
    handicap_until   timestamptz,
    head_start_us    bigint         NOT NULL,
    lease_epoch      bigint         NOT NULL DEFAULT 0,
    claims_without_progress bigint  NOT NULL DEFAULT 0,
    attempt          bigint         NOT NULL,
    max_attempts     bigint         NOT NULL,
    updated_at       timestamptz    NOT NULL,
    state_version    bigint         NOT NULL,
    lease_owner      uuid,
    -- Which workers take the order when it is due; none once it is terminal.
    lane             text,
    status           text           NOT NULL,
    chosen_dex       text,
    tx_hash          text,
    execution_price  numeric,
    amount_out       numeric(39, 0),
    -- Set when the order has failed for good, and only then.
    error_code       text,
    error_message    text,
    -- Why an operator should look at the order, if one should.
    attention        text,
    -- Written anew by each version of the software.
    state            text           NOT NULL
)
-- Each page has room for the next versions of its rows, so that an update of columns without an index does
-- not write into any index: the events that are recorded under a lease. Dead versions are cleared early, because
-- each order is written several times.
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- The queue. Terminal orders are in neither index. An order's turn comes when it becomes due, so most orders are in
-- the first index only; those whose turn comes earlier or later, by a priority or a handicap, are in the second
-- one as well. Orders that are not due although their turn has come are passed by in the index, by its third column.
CREATE INDEX order_states_turn ON @order_states (lane, turn_at, due_at) WHERE turn_at IS NOT NULL;
CREATE INDEX order_states_due ON @order_states (lane, due_at) WHERE turn_at <> due_at;
-- The few orders that an operator should look at, and the few that failed. No index has the status, because
-- it changes with nearly every event, and each change would write into every index.
CREATE INDEX order_states_attention ON @order_states (order_id) WHERE attention IS NOT NULL;
CREATE INDEX order_states_failed ON @order_states (order_id) WHERE error_code IS NOT NULL;

-- Orders as SQL users read them. Whoever locks a row of it (FOR UPDATE) holds the order.
CREATE VIEW @orders AS
SELECT
    order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, input_decimals, output_token,
    output_symbol, output_decimals, amount, slippage_bps, expires_at, not_before, priority, tag, metadata, status,
    attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message, attention,
    created_at, updated_at, seq, request_version, request, state_version, state, lane, due_at, turn_at, handicap_until,
    head_start_us, position, lease_epoch, lease_owner, claims_without_progress
FROM @order_heads JOIN @order_states USING (order_id);

-- The events: one row for those of an order that are written at once. Without foreign keys: each row is written in
-- the transaction that writes its order, and a key would lock the order's row once more for every write.
CREATE TABLE @order_writes (
    order_id        uuid   NOT NULL,
    -- The numbers of the first event and of the last one.
    first_seq       bigint NOT NULL,
    last_seq        bigint NOT NULL,
    -- The place in the feed, with the order's id and the last event's number behind it.
    position        bigint NOT NULL,
    payload_version bigint NOT NULL,
    -- A JSON array of the events, oldest first.
    payload         text   NOT NULL,
    -- By the last event: what has events behind a number is one range of the index.
    PRIMARY KEY (order_id, last_seq)
);

-- The feed. It has the whole cursor, so a page begins at its place and ends with its limit, however many events have the
-- same position; a host may submit thousands of orders in one transaction. An index of the position alone would be as
-- small, but each page would read and sort all events of its position. BRIN keeps no order to read along.
CREATE INDEX order_writes_feed ON @order_writes (position, order_id, last_seq);

-- The events as SQL users read them. What an event has in common with the first one of its write stands there only.
-- PostgreSQL's texts cannot hold the NUL character, so U+FFFD replaces it: where its escape stands behind an even number
-- of backslashes, which are characters of their own.
CREATE VIEW @order_events AS
SELECT
    order_id,
    first_seq + place - 1 AS seq,
    coalesce(item ->> 'at', items -> 0 ->> 'at')::timestamptz AS at,
    item -> 'event' ->> 'kind' AS kind,
    item ->> 'status' AS status,
    (item ->> 'progress')::smallint AS progress,
    coalesce(item ->> 'attempt', items -> 0 ->> 'attempt')::bigint AS attempt,
    coalesce(item ->> 'max_attempts', items -> 0 ->> 'max_attempts')::bigint AS max_attempts,
    item ->> 'message' AS message
FROM @order_writes
    CROSS JOIN LATERAL (
        SELECT CASE WHEN strpos(payload, '\u0000') = 0 THEN payload
            ELSE regexp_replace(payload, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g') END::json AS items
    ) AS parsed
    CROSS JOIN LATERAL json_array_elements(items) WITH ORDINALITY AS event (item, place);

-- An event's position is the number of the transaction that wrote it, plus this offset; it grows only when
-- the tables are restored into a database whose numbers are smaller.
CREATE TABLE @feed (id smallint NOT NULL PRIMARY KEY CHECK (id = 1), xid_offset bigint NOT NULL);
INSERT INTO @feed VALUES (1, 0);

-- What operators have paused, for all processes.
CREATE TABLE @pauses (
    activity text        COLLATE "C" NOT NULL,
    scope    text        COLLATE "C" NOT NULL,
    reason   text        NOT NULL,
    since    timestamptz NOT NULL,
    PRIMARY KEY (activity, scope)
);

CREATE TABLE @order_failures (
    order_id uuid        NOT NULL,
    seq      bigint      NOT NULL,
    attempt  bigint      NOT NULL,
    code     text        NOT NULL,
    message  text        NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (order_id, seq)
);

-- The nonces that orders have reserved. A purge finds those of its orders by the index.
-- A value that is no number is number 0 of an account whose name stands for the account and the value.
CREATE TABLE @account_nonces (
    venue    text   COLLATE "C" NOT NULL,
    account  text   COLLATE "C" NOT NULL,
    value    bigint NOT NULL,
    order_id uuid   NOT NULL,
    PRIMARY KEY (venue, account, value)
);

CREATE INDEX account_nonces_order ON @account_nonces (order_id);

-- Reserves a nonce for an order if it is the lowest one from `first` on that is not reserved for the account, and
-- returns that lowest one: `first`, or the one behind the first reserved one that has a gap behind it. The comparison
-- with NULL looks up what is behind each; a join might read all nonces of the account.
--
-- The transaction holds the account, so that no other one reserves a nonce of it meanwhile.
CREATE FUNCTION @reserve_nonce(of_venue text, of_account text, wanted bigint, first bigint, for_order uuid)
RETURNS bigint LANGUAGE sql VOLATILE AS $$
    WITH free AS MATERIALIZED (
        SELECT CASE
            WHEN NOT EXISTS (
                SELECT FROM @account_nonces WHERE venue = of_venue AND account = of_account AND value = first
            ) THEN first
            ELSE (
                SELECT value + 1 FROM @account_nonces AS reserved
                WHERE venue = of_venue AND account = of_account AND value >= first AND (
                    SELECT true FROM @account_nonces AS next
                    WHERE next.venue = of_venue AND next.account = of_account AND next.value = reserved.value + 1
                ) IS NULL
                ORDER BY value LIMIT 1
            )
        END AS value
    ),
    reserved AS (
        INSERT INTO @account_nonces (venue, account, value, order_id)
        SELECT of_venue, of_account, wanted, for_order FROM free WHERE free.value = wanted
    )
    SELECT value FROM free
$$;

-- The readable columns, and the messages of the events, oldest first.
CREATE VIEW @order_logs AS
SELECT
    order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, output_token, output_symbol,
    amount, slippage_bps, expires_at, not_before, priority, tag, metadata, status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out,
    error_code, error_message, attention, created_at, updated_at,
    ARRAY(
        SELECT message FROM @order_events AS event WHERE event.order_id = orders.order_id ORDER BY seq
    ) AS logs
FROM @orders AS orders;

-- The registered durable sinks. Every write of events adds outbox entries for each of them.
CREATE TABLE @sinks (name text COLLATE "C" NOT NULL PRIMARY KEY);

-- One row that changes with the sinks. A transaction does not see a sink that is newer than its snapshot, but
-- it cannot lock this row either once the row has changed since.
CREATE TABLE @sink_registry (id smallint NOT NULL PRIMARY KEY CHECK (id = 1), changes bigint NOT NULL);
INSERT INTO @sink_registry VALUES (1, 0);

-- Fails (40001) in a transaction whose snapshot is older than the last change of the sinks; otherwise true.
CREATE FUNCTION @sinks_are_known() RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT count(*) >= 0 FROM (SELECT FROM @sink_registry WHERE id = 1 FOR SHARE) AS registry
$$;

-- The outbox: one entry for each order of which a sink still lacks events, however many.
CREATE TABLE @outbox_entries (
    order_id      uuid        NOT NULL,
    sink          text        COLLATE "C" NOT NULL,
    -- The number of the last event that the sink has.
    delivered_seq bigint      NOT NULL,
    pending_since timestamptz NOT NULL,
    -- A leased entry is due when its lease expires.
    due_at        timestamptz NOT NULL,
    lease_epoch   bigint      NOT NULL DEFAULT 0,
    lease_owner   uuid,
    failures      bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, sink)
);

CREATE INDEX outbox_entries_due ON @outbox_entries (sink, due_at);

-- Adds the outbox entries of a new order.
CREATE FUNCTION @add_outbox_entries(new_order_id uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO @outbox_entries (order_id, sink, delivered_seq, pending_since, due_at)
    SELECT new_order_id, name, 0, statement_timestamp(), statement_timestamp() FROM @sinks
    ON CONFLICT DO NOTHING
$$;

-- The row that a readiness check writes: only a write shows that writing works.
CREATE TABLE @writable (id smallint NOT NULL PRIMARY KEY CHECK (id = 1), checked_at timestamptz NOT NULL);
