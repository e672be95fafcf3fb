"""Orders are placed once, whatever happens to requests and answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NotRequired, TypedDict, TypeVar, cast

from .errors import InDoubt, OrderEngineError, Refused, Unexpected
from .http import Http
from .repeat import Repeats
from .types import AcceptedOrder, Order, OrderForm

T = TypeVar("T")
#: Asks for the order that a user gave a name.
LookUp = Callable[[str, str | None], Order]


class Placed(AcceptedOrder):
    """An order that was accepted."""

    # Its name, under which the same form places it once.
    clientOrderId: str
    # Whether an earlier request had placed it.
    isReplay: bool


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one of several orders: either the order or an error."""

    order: T | None = None
    error: OrderEngineError | None = None


class Named(TypedDict):
    """A form that has a name."""

    clientOrderId: str
    userId: NotRequired[str | None]


@dataclass
class Open:
    """An order of a batch of which it is not known yet what becomes."""

    index: int
    form: Named
    is_in_doubt: bool = False
    error: OrderEngineError = field(default_factory=OrderEngineError)


def named(form: OrderForm) -> Named:
    """Gives an order a name, if it has none."""
    return cast(Named, {**form, "clientOrderId": form.get("clientOrderId") or str(uuid.uuid4())})


def place(http: Http, look_up: LookUp, form: Named, repeats: Repeats) -> Placed:
    """Places a named order, and repeats what may be."""
    body = json.dumps(form)
    is_in_doubt = False
    while True:
        try:
            answer = http.call("POST", "/api/orders/execute", body)
            return placed(answer.json(), form, answer.headers.get("Idempotency-Replayed") == "true")
        except OrderEngineError as error:
            is_in_doubt = is_in_doubt or error.leaves_doubt
            if not repeats.wait(error):
                return settle(http, look_up, form, is_in_doubt, error)


def place_all(http: Http, look_up: LookUp, forms: Sequence[Named], repeats: Repeats) -> list[Outcome[Placed]]:
    """Places named orders by one request, and repeats those of which it is not known what became."""
    results: dict[int, Outcome[Placed]] = {}
    left = [Open(index, form) for index, form in enumerate(forms)]
    while left:
        again = []
        for order, answer in zip(left, place_batch(http, [order.form for order in left]), strict=True):
            if not isinstance(answer, OrderEngineError):
                results[order.index] = Outcome(order=answer)
                continue
            order.is_in_doubt, order.error = order.is_in_doubt or answer.leaves_doubt, answer
            if answer.is_repeated:
                again.append(order)
            else:
                results[order.index] = settled(http, look_up, order)
        if again and not repeats.wait(again[0].error):
            for order in again:
                results[order.index] = settled(http, look_up, order)
            again = []
        left = again
    return [results[index] for index in range(len(forms))]


def place_batch(http: Http, forms: Sequence[Named]) -> Sequence[Placed | OrderEngineError]:
    """Sends a batch, and returns what became of each order."""
    try:
        results = http.call("POST", "/api/orders/batch", json.dumps({"orders": forms})).json()["results"]
        if len(results) != len(forms):
            raise Unexpected(f"{len(results)} results for {len(forms)} orders")
    except OrderEngineError as error:
        # What became of the request became of all.
        return [error for _ in forms]
    answers: list[Placed | OrderEngineError] = []
    for form, result in zip(forms, results, strict=True):
        if "order" in result:
            answers.append(placed(result["order"], form, result["httpStatus"] == 200))
        else:
            answers.append(refusal(result["problem"]))
    return answers


def refusal(problem: dict[str, Any]) -> Refused:
    """Returns the failure of one of several orders. It has no header of its own: what may be tried again may be at once."""
    may_pass = problem["status"] == 503 or problem["code"] == "too-many-requests"
    return Refused(problem, 0.0 if may_pass else None)


def settled(http: Http, look_up: LookUp, order: Open) -> Outcome[Placed]:
    """Says what became of an order of a batch after its last failure."""
    try:
        return Outcome(order=settle(http, look_up, order.form, order.is_in_doubt, order.error))
    except OrderEngineError as error:
        return Outcome(error=error)


def settle(http: Http, look_up: LookUp, form: Named, is_in_doubt: bool, error: OrderEngineError) -> Placed:
    """Says what became of an order after the last failure.

    If an earlier request may have placed it, a refusal of the repetition says nothing of that one, so the server is asked.
    """
    # A name is one order's: if it is another one's, this one was not placed.
    if not is_in_doubt or error.code == "idempotency-conflict":
        raise error
    if not error.is_repeated:
        try:
            order = look_up(form["clientOrderId"], form.get("userId"))
        except OrderEngineError:
            pass
        else:
            socket = http.url.replace("http", "ws", 1)
            answer = {
                "orderId": order["orderId"],
                "jobId": order["orderId"],
                "status": order["status"],
                "createdAt": order["createdAt"],
                "wsUrl": f"{socket}/ws/orders/{order['orderId']}",
            }
            return placed(answer, form, True)
    raise InDoubt(form["clientOrderId"], error)


def placed(answer: Any, form: Named, is_replay: bool) -> Placed:
    """Returns an answer with the name under which it holds."""
    return cast(Placed, {**answer, "clientOrderId": form["clientOrderId"], "isReplay": is_replay})
