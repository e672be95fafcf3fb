"""The client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast
from urllib.parse import quote as escaped
from urllib.parse import urlencode

from .follow import AllPlace, EventStream, OrderPlace
from .http import ANSWER_TIME_MAX_S, Http
from .place import Outcome, Placed, named, place, place_all, refusal
from .repeat import Repeats
from .settings import URL_DEFAULT, checked, from_environment
from .types import Cancellation, Chain, Events, Order, OrderForm, Orders, Pair, Quotation, QuoteForm, Time, Token

#: A restart takes seconds.
REPEAT_FOR_S = 30.0
#: The server sends something every 20 seconds. What is silent for longer than two of these is cut.
SILENCE_MAX_S = 45.0


class Client:
    """A client of one server. Threads may share it.

    Whatever has no effect, or the same one however often it is done, is repeated for ``repeat_for_s`` if the server cannot be reached or says that it
    cannot serve now. An operator's pause is told at once. Failures are ``OrderEngineError``.
    """

    def __init__(
        self,
        url: str = URL_DEFAULT,
        key: str | None = None,
        *,
        insecure_http: bool = False,
        repeat_for_s: float = REPEAT_FOR_S,
        silence_max_s: float = SILENCE_MAX_S,
    ) -> None:
        settings = checked(url, key, insecure_http)
        self._http = Http(settings.url, settings.key)
        self._repeat_for_s = repeat_for_s
        self._silence_max_s = silence_max_s

    @classmethod
    def from_env(cls, **options: Any) -> Client:
        """Reads ``ORDER_ENGINE_URL`` and ``ORDER_ENGINE_KEY``, and what they leave open from the file that ``ORDER_ENGINE_CONFIG`` names, or from
        ``order-engine/cli.toml`` in ``$XDG_CONFIG_HOME`` or ``~/.config``."""
        settings = from_environment()
        return cls(settings.url, settings.key, **options)

    def __repr__(self) -> str:
        return f"Client({self._http.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections that wait for a request."""
        self._http.close()

    def place(self, form: OrderForm) -> Placed:
        """Places an order, once. A form without a ``clientOrderId`` gets one before it is sent; what is in doubt is repeated with it."""
        return place(self._http, self._look_up, named(form), self._repeats())

    def place_all(self, forms: Iterable[OrderForm]) -> list[Outcome[Placed]]:
        """Places up to 50 orders by one request, each once and by itself."""
        return place_all(self._http, self._look_up, [named(form) for form in forms], self._repeats())

    def quote(self, form: QuoteForm) -> Quotation:
        """Returns what routing would do now, without an order."""
        return cast(Quotation, self._post_repeatedly("/api/quote", form))

    def dry_run(self, form: OrderForm) -> Quotation:
        """Checks an order without placing it."""
        return cast(Quotation, self._post_repeatedly("/api/orders/execute", {**form, "dryRun": True})["quote"])

    def order(self, order_id: str) -> Order:
        """Returns an order."""
        return cast(Order, self.get(f"/api/orders/status/{escaped(order_id, safe='')}"))

    def order_named(self, client_order_id: str, *, user_id: str | None = None) -> Order:
        """Returns the order that a user gave this name."""
        path = f"/api/orders/by-client-id/{escaped(client_order_id, safe='')}"
        return cast(Order, self.get(path + query(userId=user_id)))

    def orders(
        self,
        *,
        status: str | Sequence[str] | None = None,
        user_id: str | None = None,
        token: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        sort: str | None = None,
        attention: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Orders:
        """Returns a page of orders, the newest first unless ``sort`` is ``oldest``. ``cursor`` is the ``nextCursor`` of the page before."""
        statuses = status if status is None or isinstance(status, str) else ",".join(status)
        conditions = {
            "status": statuses, "userId": user_id, "token": token, "from": from_, "to": to, "sort": sort, "attention": attention,
            "limit": limit, "cursor": cursor,
        }
        return cast(Orders, self.get("/api/orders" + query(**conditions)))

    def events(self, order_id: str, *, after: int = 0, limit: int | None = None) -> Events:
        """Returns the events of an order behind the one of this number, as many as the server gives at a time."""
        return cast(Events, self.get(f"/api/orders/{escaped(order_id, safe='')}/events" + query(after=after, limit=limit)))

    def cancel(self, order_id: str) -> Cancellation:
        """Cancels an order. One that was cancelled before is cancelled again, with the same answer."""
        return cast(Cancellation, self._post_repeatedly(f"/api/orders/{escaped(order_id, safe='')}/cancel", {}))

    def cancel_all(self, order_ids: Sequence[str]) -> list[Outcome[Cancellation]]:
        """Cancels up to 50 orders by one request."""
        results = self._post_repeatedly("/api/orders/cancel", {"orderIds": list(order_ids)})["results"]
        return [Outcome(result["order"]) if "order" in result else Outcome(error=refusal(result["problem"])) for result in results]

    def pairs(self) -> list[Pair]:
        """Returns what may be traded."""
        return cast(list[Pair], self.get("/api/pairs")["pairs"])

    def tokens(self) -> list[Token]:
        """Returns the tokens that may be traded."""
        return cast(list[Token], self.get("/api/tokens")["tokens"])

    def time(self) -> Time:
        """Returns the server's clock."""
        return cast(Time, self.get("/api/time"))

    def chain(self) -> Chain:
        """Returns the chain on which the server trades."""
        return cast(Chain, self.get("/api/chain"))

    def follow(
        self,
        order_id: str,
        *,
        after: int = 0,
        on_interrupted: Callable[[str], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> EventStream:
        """Follows an order: its events behind the one of the number ``after``, and then those that happen, up to its end."""
        return self._open(OrderPlace(order_id, after), on_interrupted, on_notice)

    def follow_all(
        self,
        *,
        after: str | None = None,
        user_id: str | None = None,
        on_interrupted: Callable[[str], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> EventStream:
        """Follows all orders of the caller: behind the cursor ``after``, from the first event on (``start``), or from now on.

        Once this returns, no event is missed. An event that the server cannot read ends the stream with ``Unexpected``; its ``cursor`` is behind that
        event.
        """
        return self._open(AllPlace(after, user_id), on_interrupted, on_notice)

    def get(self, path: str) -> Any:
        """Reads a path that has no method here."""
        return self._repeats().run(lambda: self._http.call("GET", path)).json()

    def post(self, path: str, body: Any = None, *, time_s: float = ANSWER_TIME_MAX_S) -> Any:
        """Posts to a path that has no method here, once."""
        return self._http.call("POST", path, json.dumps(body or {}), time_s).json()

    def _post_repeatedly(self, path: str, body: Any) -> Any:
        text = json.dumps(body)
        return self._repeats().run(lambda: self._http.call("POST", path, text)).json()

    def _look_up(self, client_order_id: str, user_id: str | None) -> Order:
        return self.order_named(client_order_id, user_id=user_id)

    def _open(
        self,
        place: OrderPlace | AllPlace,
        on_interrupted: Callable[[str], None] | None,
        on_notice: Callable[[str], None] | None,
    ) -> EventStream:
        return EventStream(self._http, place, self._silence_max_s, on_interrupted, on_notice).open(self._repeats())

    def _repeats(self) -> Repeats:
        return Repeats(self._repeat_for_s)


def query(**conditions: Any) -> str:
    """Returns the conditions that are given, as a query."""
    given = {name: value for name, value in conditions.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
