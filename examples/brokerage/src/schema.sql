-- One process at a time, because all of them run this when they start.
SELECT pg_advisory_xact_lock(hashtext('brokerage'));

CREATE SCHEMA IF NOT EXISTS brokerage;

-- What each user has, in base units of the token. It is always the sum of the user's ledger.
CREATE TABLE IF NOT EXISTS brokerage.accounts (
    user_id text NOT NULL,
    token text NOT NULL,
    balance numeric(39, 0) NOT NULL CHECK (balance >= 0),
    PRIMARY KEY (user_id, token)
);

-- Why it changed. Nothing is ever updated or deleted here.
CREATE TABLE IF NOT EXISTS brokerage.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The order, or the deposit.
    cause_id uuid NOT NULL,
    user_id text NOT NULL,
    token text NOT NULL,
    amount numeric(39, 0) NOT NULL,
    reason text NOT NULL CHECK (reason IN ('deposit', 'order', 'fill', 'unused', 'refund')),
    entered_at timestamptz NOT NULL DEFAULT now(),
    -- Whatever is repeated, an order is debited once, filled once and refunded once.
    UNIQUE (cause_id, reason, token)
);
