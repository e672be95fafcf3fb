"""Live streams that miss no event and repeat none, whatever happens to connections."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NotRequired, Protocol, cast
from urllib.parse import quote

from . import types
from .errors import OrderEngineError, Unexpected
from .http import Http, Stream, parsed
from .repeat import Backoff, Repeats
from .sse import Message, Parser, TooLarge


class Event(types.Event):
    """What happened to an order."""

    # Its place in the stream of all orders; there only.
    cursor: NotRequired[str]


@dataclass
class Taken:
    """What a message is: the next event, which may be the last, or what cannot follow where the stream is."""

    event: Event | None = None
    is_last: bool = False
    gap: str | None = None


class Place(Protocol):
    """How far a stream has been read."""

    @property
    def path(self) -> str: ...

    @property
    def last_id(self) -> str | None: ...

    def take(self, id: str | None, frame: dict[str, Any]) -> Taken:
        """Goes on to a message."""
        ...


class OrderPlace:
    """How far the events of one order have been read."""

    def __init__(self, order_id: str, after: int) -> None:
        self._order_id = quote(order_id, safe="")
        self.last_seq = after

    @property
    def path(self) -> str:
        return f"/api/orders/{self._order_id}/events?after={self.last_seq}"

    @property
    def last_id(self) -> str | None:
        return str(self.last_seq)

    def take(self, id: str | None, frame: dict[str, Any]) -> Taken:
        # What was there already.
        if id is None or frame["seq"] <= self.last_seq:
            return Taken()
        if frame["seq"] > self.last_seq + 1:
            return Taken(gap=f"event {frame['seq']} came behind event {self.last_seq}")
        self.last_seq = frame["seq"]
        return Taken(cast(Event, frame), is_last=frame["status"] in ("confirmed", "failed"))


class AllPlace:
    """How far the events of all orders have been read. Without a cursor the server says where the stream begins."""

    def __init__(self, after: str | None, user_id: str | None) -> None:
        self.last_id = after
        self.path = "/api/stream" + (f"?userId={quote(user_id, safe='')}" if user_id is not None else "")

    def take(self, id: str | None, frame: dict[str, Any]) -> Taken:
        if id is None:
            self.last_id = self.last_id or frame.get("cursor")
            return Taken()
        self.last_id = id
        return Taken(cast(Event, frame))


class EventStream:
    """Events, each once and in the order of their order. It connects again behind its last event.

    It is an iterator, and a context manager that closes it. Another thread may close it as well.
    """

    def __init__(
        self,
        http: Http,
        place: Place,
        silence_max_s: float,
        on_interrupted: Callable[[str], None] | None,
        on_notice: Callable[[str], None] | None,
    ) -> None:
        self._http = http
        self._place = place
        self._silence_max_s = silence_max_s
        self._on_interrupted = on_interrupted
        self._on_notice = on_notice
        self._backoff = Backoff()
        self._stream: Stream | None = None
        self._parser = Parser()
        self._ready: list[Message] = []
        self._has_ended = False
        self._closed = threading.Event()

    def open(self, repeats: Repeats) -> EventStream:
        """Connects, and waits until the stream has begun somewhere, so that nothing behind that is missed."""
        repeats.run(self._connect)
        return self

    @property
    def last_seq(self) -> int:
        """The number of the last event of one order."""
        return int(self._place.last_id or 0)

    @property
    def cursor(self) -> str:
        """The place behind the last event: a later stream behind it goes on where this one is."""
        return self._place.last_id or ""

    def close(self) -> None:
        """Ends the stream, also while another thread waits for its next event."""
        self._closed.set()
        self._leave()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._closed.is_set():
            try:
                event = self._step()
            except OrderEngineError:
                is_wanted = not self._closed.is_set()
                self.close()
                if is_wanted:
                    raise
                break
            if event is not None:
                return event
            if self._has_ended and not self._ready:
                break
        self.close()
        raise StopIteration

    def _step(self) -> Event | None:
        if self._ready:
            return self._take(self._ready.pop(0))
        if self._stream is None:
            self._reconnect()
            return None
        try:
            self._ready = self._read()
        except (OSError, http.client.HTTPException, TooLarge, ValueError, AttributeError) as error:
            # The last two are what a response says that another thread has closed.
            self._cut("it fell silent" if isinstance(error, TimeoutError) else str(error) or type(error).__name__)
        return None

    def _read(self) -> list[Message]:
        if self._stream is None:
            return []
        piece = self._stream.read()
        if not piece:
            raise ConnectionError("it ended")
        return self._parser.take(piece)

    def _reconnect(self) -> None:
        try:
            self._connect()
        except OrderEngineError as error:
            if not error.is_passing:
                raise
            self._cut(str(error), error.retry_after_s)

    def _connect(self) -> None:
        self._stream = self._http.stream(self._place.path, self._place.last_id, self._silence_max_s)
        self._parser, self._ready = Parser(), []
        # Without a body there is no further event, and never will be.
        self._has_ended = self._stream is None
        while not self._has_ended and self._place.last_id is None:
            self._begin()

    def _begin(self) -> None:
        """Reads on until the server has said where the stream begins."""
        try:
            messages = self._read()
        except (OSError, http.client.HTTPException, TooLarge) as error:
            self._leave()
            raise self._http.unreachable(error, True) from None
        while messages and self._place.last_id is None:
            message = messages.pop(0)
            if message.id is not None:
                raise Unexpected("an event came before its stream began")
            self._place.take(message.id, parsed(message.data))
        self._ready += messages

    def _take(self, message: Message) -> Event | None:
        frame = parsed(message.data)
        if message.id is None and frame.get("type") == "notice" and self._on_notice is not None:
            self._on_notice(frame["message"])
        taken = self._place.take(message.id, frame)
        if frame.get("type") == "unreadable":
            raise Unexpected(f"the server cannot read an event of order {frame.get('orderId')}")
        if taken.gap is not None:
            self._cut(taken.gap)
        if taken.event is not None:
            self._backoff = Backoff()
        self._has_ended = self._has_ended or taken.is_last
        return taken.event

    def _cut(self, reason: str, retry_after_s: float | None = None) -> None:
        """Leaves the connection, and waits until the next one may be made."""
        self._leave()
        self._ready = []
        if self._closed.is_set():
            return
        if self._on_interrupted is not None:
            self._on_interrupted(reason)
        self._closed.wait(self._backoff.next(retry_after_s))

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
