"""The types of the interface. scripts/clients-types writes this file; change the server in its place."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class AcceptedOrder(TypedDict):
    """The answer to a request for an order."""

    createdAt: str
    # The order's id again, because the order is the job.
    jobId: str
    orderId: str
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']
    wsUrl: str


class AllWebhooks(TypedDict):
    """A page of webhooks. It may have fewer than were asked for, also where there is a next one."""

    # Where the next page begins; `null` for the last page.
    nextCursor: NotRequired[str | None]
    webhooks: list[Webhook]


class Attention(TypedDict):
    """Why the order needs an operator."""

    kind: str
    message: str


class AttentionList(TypedDict):
    # Where the next page begins; `null` for the last page.
    nextCursor: NotRequired[str | None]
    orders: list[ListedOrder]


class Backlog(TypedDict):
    attention: int
    execute: Lane
    observe: Lane
    sinks: list[SinkBacklog]


class BatchBody_AcceptedOrder(TypedDict):
    """The answer: one result each, in the order of the request."""

    results: list[BatchResult_AcceptedOrder]


class BatchBody_Cancellation(TypedDict):
    """The answer: one result each, in the order of the request."""

    results: list[BatchResult_Cancellation]


class BatchForm(TypedDict):
    """The schema of a request for several orders."""

    # The orders, each with its own `clientOrderId`.
    orders: list[OrderForm]


class BatchResult_AcceptedOrder(TypedDict):
    """What a request of its own would have been answered."""

    # The answer to a request for an order.
    order: NotRequired[BatchResult_AcceptedOrderOrder]
    problem: NotRequired[Problem]
    # The status of that answer.
    httpStatus: int


class BatchResult_AcceptedOrderOrder(TypedDict):
    """The answer to a request for an order."""

    createdAt: str
    # The order's id again, because the order is the job.
    jobId: str
    orderId: str
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']
    wsUrl: str


class BatchResult_Cancellation(TypedDict):
    """What a request of its own would have been answered."""

    # The result of a cancel.
    order: NotRequired[BatchResult_CancellationOrder]
    problem: NotRequired[Problem]
    # The status of that answer.
    httpStatus: int


class BatchResult_CancellationOrder(TypedDict):
    """The result of a cancel."""

    # `cancelled`, or `pending` while the transaction may still land.
    cancel: str
    lastSeq: int
    orderId: str
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']


class CancelForm(TypedDict):
    """The schema of a request to cancel several orders."""

    # All open orders of the user, up to 1,000.
    all: NotRequired[bool | None]
    # The orders. Either these or `all`.
    orderIds: NotRequired[list[str] | None]
    # Whose. With authentication, it is the credential's.
    userId: NotRequired[str | None]


class Cancellation(TypedDict):
    """The result of a cancel."""

    # `cancelled`, or `pending` while the transaction may still land.
    cancel: str
    lastSeq: int
    orderId: str
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']


class Candidate(TypedDict):
    """The quote of one exchange, or why it has none."""

    amountOut: NotRequired[str]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str]
    # The chain's own fee for the swaps, in units of the output token. It is not part of `amountOut`.
    chainFee: NotRequired[str | None]
    # The price before the trade and without fees.
    midPrice: NotRequired[float]
    price: NotRequired[float]
    # How far the output stays below what the mid price promises.
    priceImpactBps: NotRequired[int | None]
    legs: NotRequired[list[Leg]]
    error: NotRequired[OrderFailure]
    dex: str


class Chain(TypedDict):
    """The chain that the server trades on, as clients are told."""

    # The URL of a transaction at an explorer, with `{tx}` in the place of its id.
    explorer: NotRequired[str | None]
    # Whether it is a simulation, on which nothing has a value.
    isSimulated: bool
    # Its name.
    name: str


class ChainFindings(TypedDict):
    """What the final histories of the venues have with the order's tag. That nothing is found proves nothing."""

    found: NotRequired[list[FoundTransaction]]
    problem: NotRequired[Problem]


class ChainView(TypedDict):
    confirmed: int
    finalized: int
    processed: int


class Deliveries(TypedDict):
    """A page of the log."""

    deliveries: list[Delivery]
    # Where the next page begins; `null` for the last page.
    nextCursor: NotRequired[int | None]


class Delivery(TypedDict):
    """One request to a receiver, and how it ended."""

    at: str
    # How often the event was tried by itself, with this time; 1 for what a user asks for.
    attempt: int
    durationMs: int
    # A stable code, if it failed: the event is delivered if there is none.
    error: NotRequired[str | None]
    # The event, under the name that the receiver gets: `webhook-id`.
    eventId: str
    # The order of the event; a test has none.
    orderId: NotRequired[str | None]
    # The number of the event in its order.
    seq: NotRequired[int | None]
    # The status that the receiver answered.
    status: NotRequired[int | None]
    trigger: Trigger
    # The kind of the event.
    type: str


class DryRun(TypedDict):
    """What would be traded."""

    # Always true: there is no order.
    dryRun: bool
    quote: Quotation


class Event(TypedDict):
    """The schema of a [`Frame`]: the fields of all types."""

    amountOut: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str | None]
    attempt: NotRequired[int | None]
    chosenDex: NotRequired[str | None]
    error: NotRequired[EventError | None]
    executionPrice: NotRequired[float | None]
    executionPriceExact: NotRequired[str | None]
    filledAt: NotRequired[str | None]
    maxAttempts: NotRequired[int | None]
    # One sentence for people.
    message: str
    # The least output, in units of the output token.
    minOut: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    minOutBaseUnits: NotRequired[str | None]
    orderId: str
    # How far the attempt is, in percent.
    progress: int
    quotes: NotRequired[list[Candidate] | None]
    retryAt: NotRequired[str | None]
    retryInMs: NotRequired[int | None]
    route: NotRequired[Route | None]
    # The number of the event among the order's, from 1 on.
    seq: int
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']
    timestamp: str
    txHash: NotRequired[str | None]
    # What happened: `pending`, `routing`, `building`, `submitted`, `execution-failed`, `retry-pending`, `cancel-requested`,
    # `attention`, `attention-cleared`, `confirmed`, `failed`; there may be others in future.
    type: str


class EventError(TypedDict):
    """The error of a frame."""

    code: str
    message: str
    # Whether the engine tries again.
    retryable: NotRequired[bool | None]


class Events(TypedDict):
    """Events of an order."""

    events: list[Event]
    # The number of the order's last event. It is greater than the number of the last event here if there are more.
    lastSeq: int
    orderId: str


class FieldError(TypedDict):
    """An error in one field of a request."""

    # A stable code.
    code: str
    # The name of the field as the client wrote it, or the name of a header or a query parameter.
    field: str
    # One sentence for people.
    message: str


class Fill(TypedDict):
    # An amount in base units, as decimal digits.
    amountInBaseUnits: str
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: str
    height: int


class HaltForm(TypedDict):
    """Why everything stops."""

    reason: str


class Health(TypedDict):
    """The answer of a process that is alive."""

    status: str


class Lane(TypedDict):
    due: int
    dueForMs: NotRequired[int | None]
    orders: int


class Leg(TypedDict):
    """A swap in one pool. Its tokens may be other ones than the order's, so its amounts are in base units only."""

    # An amount in base units, as decimal digits.
    amountInBaseUnits: str
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: str
    dex: str
    inputMint: str
    outputMint: str
    pool: str


class ListedOrder(TypedDict):
    """An order in a list. An undecodable order is listed, too, so that an operator sees it."""

    amount: NotRequired[str]
    # An amount in base units, as decimal digits.
    amountBaseUnits: NotRequired[str]
    amountOut: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str | None]
    attempt: NotRequired[int]
    attention: str
    chosenDex: NotRequired[str | None]
    clientOrderId: NotRequired[str | None]
    createdAt: NotRequired[str]
    error: NotRequired[OrderFailure | None]
    executionPrice: NotRequired[float | None]
    executionPriceExact: NotRequired[str | None]
    expiresAt: NotRequired[str | None]
    inputToken: NotRequired[str]
    lastSeq: NotRequired[int]
    # The messages of the order's events. A list of orders has none.
    logs: NotRequired[list[str] | None]
    maxAttempts: NotRequired[int]
    # The worst price, as the least output. An order without one of its own has it from its first quote on.
    minOut: NotRequired[str | None]
    orderId: str
    orderType: NotRequired[str]
    outputToken: NotRequired[str]
    slippageBps: NotRequired[int]
    # Where the order stands.
    status: NotRequired[Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']]
    tokenIn: NotRequired[str]
    tokenOut: NotRequired[str]
    txHash: NotRequired[str | None]
    updatedAt: NotRequired[str]
    userId: NotRequired[str]
    message: NotRequired[str]


class MadeDue(TypedDict):
    """The answer."""

    orderId: str


class OperatorOrder(TypedDict):
    attention: NotRequired[Attention | None]
    chain: NotRequired[ChainFindings | None]
    isCancelRequested: bool
    order: Order
    # The order that this one repeats.
    origin: NotRequired[str | None]
    # What was signed for the attempt that runs, in the order of the signing.
    transactions: list[SignedTransaction]
    venue: NotRequired[str | None]


class Order(TypedDict):
    """An order as clients see it. Every field is always there; one without a value is `null`."""

    amount: str
    # An amount in base units, as decimal digits.
    amountBaseUnits: str
    amountOut: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str | None]
    attempt: int
    attention: NotRequired[str | None]
    chosenDex: NotRequired[str | None]
    clientOrderId: NotRequired[str | None]
    createdAt: str
    error: NotRequired[OrderFailure | None]
    executionPrice: NotRequired[float | None]
    executionPriceExact: NotRequired[str | None]
    expiresAt: NotRequired[str | None]
    inputToken: str
    lastSeq: int
    # The messages of the order's events. A list of orders has none.
    logs: NotRequired[list[str] | None]
    maxAttempts: int
    # The worst price, as the least output. An order without one of its own has it from its first quote on.
    minOut: NotRequired[str | None]
    orderId: str
    orderType: str
    outputToken: str
    slippageBps: int
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']
    tokenIn: str
    tokenOut: str
    txHash: NotRequired[str | None]
    updatedAt: str
    userId: str


class OrderFailure(TypedDict):
    """A failure as clients see it."""

    code: str
    message: str


class OrderForm(TypedDict):
    """The schema of a request for an order."""

    # An amount in units of the token, as a decimal text or a number.
    amount: NotRequired[str | float]
    # An amount in base units, as decimal digits.
    amountBaseUnits: NotRequired[str]
    # A name for the order, unique for its user; the same as the header `Idempotency-Key`.
    clientOrderId: NotRequired[str | None]
    # Only check the order and say what would be traded, without placing it.
    dryRun: NotRequired[bool | None]
    # When the order fails unless it may have executed already. Either this or `ttlMs`.
    expiresAt: NotRequired[str | None]
    # How far the order may move the price, in basis points. The server has a default, and refuses what goes beyond.
    maxPriceImpactBps: NotRequired[int | None]
    # An amount in units of the token, as a decimal text or a number.
    minOut: NotRequired[None | str | float]
    # What kind of order it is.
    orderType: NotRequired[Literal['market'] | None]
    # Whose quote bounds the price.
    priceProtection: NotRequired[Literal['first-quote', 'each-quote'] | None]
    # An executable quote of `POST /api/quote` for the same tokens and amount: its least output is the floor of the order.
    quoteId: NotRequired[str | None]
    # How far below its first quote the output may be, in basis points.
    slippageBps: NotRequired[int | None]
    # What is sold: a registered symbol or mint. Also called `inputToken`.
    tokenIn: str
    # What is bought. Also called `outputToken`.
    tokenOut: str
    # The same as a time from now, in milliseconds.
    ttlMs: NotRequired[int | None]
    # The user. With authentication, it is the credential's.
    userId: NotRequired[str | None]


class Orders(TypedDict):
    """A page of orders."""

    # Where the next page begins; `null` for the last page.
    nextCursor: NotRequired[str | None]
    orders: list[ListedOrder]


class Outcome_AcceptedOrder(TypedDict):
    # The answer to a request for an order.
    order: NotRequired[Outcome_AcceptedOrderOrder]
    problem: NotRequired[Problem]


class Outcome_AcceptedOrderOrder(TypedDict):
    """The answer to a request for an order."""

    createdAt: str
    # The order's id again, because the order is the job.
    jobId: str
    orderId: str
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']
    wsUrl: str


class Outcome_Cancellation(TypedDict):
    # The result of a cancel.
    order: NotRequired[Outcome_CancellationOrder]
    problem: NotRequired[Problem]


class Outcome_CancellationOrder(TypedDict):
    """The result of a cancel."""

    # `cancelled`, or `pending` while the transaction may still land.
    cancel: str
    lastSeq: int
    orderId: str
    # Where the order stands.
    status: Literal['pending', 'routing', 'building', 'submitted', 'confirmed', 'failed']


class Pair(TypedDict):
    """A pair of tokens, in one direction."""

    # About the greatest amount within the server's limit of the price impact.
    greatest: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    greatestBaseUnits: NotRequired[str | None]
    # About the least amount of the input token that buys anything; `null` while it is not known.
    least: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    leastBaseUnits: NotRequired[str | None]
    tokenIn: str
    tokenOut: str


class Pairs(TypedDict):
    """What can be traded."""

    pairs: list[Pair]


class Panicked(TypedDict):
    isResting: bool
    lastPanic: str
    name: str
    panics: int


class Pause(TypedDict):
    scope: str
    tokenIn: NotRequired[str | None]
    tokenOut: NotRequired[str | None]
    userId: NotRequired[str | None]
    venue: NotRequired[str | None]
    activity: str
    reason: str
    since: str


class PauseForm(TypedDict):
    """What is paused: for all orders, or for those of one of a venue, a user, or a pair."""

    # `accepting`, `routing` or `sending`.
    activity: str
    # Why; only where a pause is set.
    reason: NotRequired[str | None]
    tokenIn: NotRequired[str | None]
    tokenOut: NotRequired[str | None]
    userId: NotRequired[str | None]
    venue: NotRequired[str | None]


class PauseScope(TypedDict):
    """For which orders: those of all, of a venue, of a pair, or of a user."""

    scope: str
    tokenIn: NotRequired[str | None]
    tokenOut: NotRequired[str | None]
    userId: NotRequired[str | None]
    venue: NotRequired[str | None]


class Pauses(TypedDict):
    """What is paused."""

    pauses: list[Pause]


class Problem(TypedDict):
    """Why a request had no success (RFC 9457)."""

    # What programs tell errors apart by.
    code: str
    # One sentence for people.
    detail: str
    # The fields that were refused.
    errors: NotRequired[list[FieldError]]
    # The key under which a repeated request is the same order.
    idempotencyKey: NotRequired[str | None]
    # The order that the problem is about.
    orderId: NotRequired[str | None]
    # The price impact that the order would have, in basis points.
    priceImpactBps: NotRequired[int | None]
    status: int
    title: str
    # Where the error is explained, relative to the address of the server.
    type: str


class ProblemKind(TypedDict):
    """A code that problems have."""

    # What programs tell problems apart by.
    code: str
    # What it means, and what to do about it.
    meaning: str
    # The HTTP status.
    status: int


class ProblemKinds(TypedDict):
    """The codes of problems."""

    problems: list[ProblemKind]


class PurgeForm(TypedDict):
    """How long ago an order must have ended to be deleted."""

    olderThanS: int


class Purged(TypedDict):
    """How many orders were deleted."""

    deleted: int


class Quotation(TypedDict):
    """The answer to a request for a quote."""

    amount: str
    # An amount in base units, as decimal digits.
    amountBaseUnits: str
    amountOut: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str | None]
    chosenDex: NotRequired[str | None]
    # Until when it may.
    expiresAt: NotRequired[str | None]
    minOut: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    minOutBaseUnits: NotRequired[str | None]
    # What an order gives as its `quoteId` to have this least output. An order without a route has none.
    quoteId: NotRequired[str | None]
    quotes: list[Candidate]
    route: NotRequired[Route | None]
    slippageBps: int
    tokenIn: str
    tokenOut: str


class QuoteForm(TypedDict):
    """The schema of a request for a quote."""

    # An amount in units of the token, as a decimal text or a number.
    amount: NotRequired[str | float]
    # An amount in base units, as decimal digits.
    amountBaseUnits: NotRequired[str]
    maxPriceImpactBps: NotRequired[int | None]
    # What kind of order it is.
    orderType: NotRequired[Literal['market'] | None]
    slippageBps: NotRequired[int | None]
    # What would be sold: a registered symbol or mint. Also called `inputToken`.
    tokenIn: str
    # What would be bought. Also called `outputToken`.
    tokenOut: str


class QuoteOutcome(TypedDict):
    amountOut: NotRequired[str]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str]
    # The chain's own fee for the swaps, in units of the output token. It is not part of `amountOut`.
    chainFee: NotRequired[str | None]
    # The price before the trade and without fees.
    midPrice: NotRequired[float]
    price: NotRequired[float]
    # How far the output stays below what the mid price promises.
    priceImpactBps: NotRequired[int | None]
    legs: NotRequired[list[Leg]]
    error: NotRequired[OrderFailure]


class Readiness(TypedDict):
    """The answer of a process that is ready, with the state of each part."""

    fanout: str
    queue: str
    status: str
    store: str
    streams: int


class Redelivery(TypedDict):
    """The schema of a request to send an event once more."""

    orderId: str
    # The number of the event among the order's.
    seq: int


class Resolution(TypedDict):
    """What an operator knows of the outcome of an order's transaction."""

    # An amount in units of the token, as a decimal text or a number.
    amountIn: NotRequired[None | str | float]
    # An amount in base units, as decimal digits.
    amountInBaseUnits: NotRequired[str | None]
    # An amount in units of the token, as a decimal text or a number.
    amountOut: NotRequired[None | str | float]
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: NotRequired[str | None]
    # The block.
    height: NotRequired[int | None]
    # Why, for the history.
    note: str
    # `executed`, with the amounts and the height, or `not-executed`.
    outcome: str


class Route(TypedDict):
    """A route with its legs."""

    amountOut: str
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: str
    # The chain's own fee for the swaps, in units of the output token. It is not part of `amountOut`.
    chainFee: NotRequired[str | None]
    # The price before the trade and without fees.
    midPrice: NotRequired[float]
    price: NotRequired[float]
    # How far the output stays below what the mid price promises.
    priceImpactBps: NotRequired[int | None]
    legs: list[Leg]
    dex: str


class RouteAmounts(TypedDict):
    """What a route yields, in human units and in base units."""

    amountOut: str
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: str
    # The chain's own fee for the swaps, in units of the output token. It is not part of `amountOut`.
    chainFee: NotRequired[str | None]
    # The price before the trade and without fees.
    midPrice: NotRequired[float]
    price: NotRequired[float]
    # How far the output stays below what the mid price promises.
    priceImpactBps: NotRequired[int | None]


class RouteDetails(TypedDict):
    """What a route yields, and by which swaps."""

    amountOut: str
    # An amount in base units, as decimal digits.
    amountOutBaseUnits: str
    # The chain's own fee for the swaps, in units of the output token. It is not part of `amountOut`.
    chainFee: NotRequired[str | None]
    # The price before the trade and without fees.
    midPrice: NotRequired[float]
    price: NotRequired[float]
    # How far the output stays below what the mid price promises.
    priceImpactBps: NotRequired[int | None]
    legs: list[Leg]


class SignedTransaction(TypedDict):
    account: NotRequired[str | None]
    # An amount in base units, as decimal digits.
    minOutBaseUnits: str
    nonce: NotRequired[str | None]
    purpose: str
    txHash: str
    untilHeight: NotRequired[int | None]


class SinkBacklog(TypedDict):
    orders: int
    pendingForMs: NotRequired[int | None]
    sink: str


class Stats(TypedDict):
    """How the engine of this process is, and what waits in the store of all processes."""

    backlog: NotRequired[Backlog | None]
    durability: str
    # Whether the kill switch is on: accepting and sending are paused for everything.
    isHalted: bool
    isStalled: bool
    isStopping: bool
    # Whether the store takes writes.
    isWritable: bool
    missingVenues: list[str]
    panicked: list[Panicked]
    pauses: int
    sourcesConnected: bool
    streams: int
    time: str
    venues: list[VenueHealth]
    workers: int


class Ticket(TypedDict):
    """A ticket. A socket takes it as the query parameter `ticket`."""

    expiresAt: str
    ticket: str


class Time(TypedDict):
    """What the clock says."""

    time: str
    # The same in milliseconds since 1970.
    unixMs: int


class Token(TypedDict):
    """The schema of a token."""

    # How many digits its units have behind the point.
    decimals: int
    # What the chain calls it.
    mint: str
    # What people call it.
    symbol: str


class Tokens(TypedDict):
    """The registered tokens."""

    tokens: list[Token]


class VenueHealth(TypedDict):
    isBuilding: bool
    isObserving: bool
    name: str
    view: NotRequired[ChainView | None]


class Webhook(TypedDict):
    """An endpoint as its user sees it."""

    createdAt: str
    description: str
    disabledAt: NotRequired[str | None]
    disabledReason: NotRequired[str | None]
    # The kinds of events; all, if it is empty.
    events: list[str]
    failingSince: NotRequired[str | None]
    failures: int
    id: str
    lastError: NotRequired[str | None]
    lastSuccessAt: NotRequired[str | None]
    nextAttemptAt: NotRequired[str | None]
    # Until when the secret before the current one signs as well.
    previousSecretUntil: NotRequired[str | None]
    # Only where it is shown on purpose.
    secret: NotRequired[str | None]
    status: str
    url: str
    userId: str


class WebhookChange(TypedDict):
    """The schema of a change of a webhook. What is missing stays as it is."""

    description: NotRequired[str | None]
    # Whether events are posted. A webhook that was given up starts again where it stopped.
    enabled: NotRequired[bool | None]
    events: NotRequired[list[str] | None]
    # With `enabled`: start behind all that waits.
    skip: NotRequired[bool | None]
    url: NotRequired[str | None]


class WebhookForm(TypedDict):
    """The schema of a new webhook."""

    description: NotRequired[str | None]
    # The kinds of events; all without it.
    events: NotRequired[list[str] | None]
    # Where events are posted.
    url: str
    # Whose. With authentication, it is the credential's.
    userId: NotRequired[str | None]


class Webhooks(TypedDict):
    """All endpoints of a user. There are few."""

    webhooks: list[Webhook]


FoundTransaction: TypeAlias = "dict[str, Any]"

# Why an attempt was made.
Trigger: TypeAlias = "Literal['event', 'redelivery', 'test']"
