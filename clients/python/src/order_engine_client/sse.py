"""Server-sent events, as they come in pieces."""

from __future__ import annotations

import re
from typing import NamedTuple

#: The largest event. The server's are a few kilobytes.
EVENT_BYTES_MAX = 8 << 20
LINE_END = re.compile(rb"\r\n|\r|\n")


class Message(NamedTuple):
    """An event: its own id, if it has one, and its data."""

    id: str | None
    data: str


class TooLarge(Exception):
    """An event is larger than any of the server's."""


class Parser:
    """Puts events together."""

    def __init__(self) -> None:
        self._line = b""
        self._is_after_return = False
        self._id: str | None = None
        self._data: list[str] = []
        self._size = 0

    def take(self, piece: bytes) -> list[Message]:
        """Takes a piece, and returns the events that it completes."""
        if self._is_after_return and piece:
            # The rest of the end of a line.
            piece = piece.removeprefix(b"\n")
            self._is_after_return = False
        if piece.endswith(b"\r"):
            self._is_after_return = True
        *lines, self._line = LINE_END.split(self._line + piece)
        messages = [message for line in lines if (message := self._take_line(line)) is not None]
        if self._size + len(self._line) > EVENT_BYTES_MAX:
            raise TooLarge
        return messages

    def _take_line(self, raw: bytes) -> Message | None:
        line = raw.decode("utf-8", "replace")
        if line == "":
            message = Message(self._id, "\n".join(self._data)) if self._data else None
            self._id, self._data, self._size = None, [], 0
            return message
        self._size += len(raw)
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            self._id = value
        elif field == "data":
            self._data.append(value)
        # All else keeps the connection alive, or nobody needs it here.
        return None
