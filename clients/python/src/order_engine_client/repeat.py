"""When a request is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import OrderEngineError

WAIT_S = 0.25
WAIT_MAX_S = 5.0

T = TypeVar("T")


class Backoff:
    """Waits that double, each a little different, so that not all clients come back at once."""

    def __init__(self) -> None:
        self._wait_s = WAIT_S

    def next(self, retry_after_s: float | None = None) -> float:
        """Returns the next wait in seconds: as long as the server asks for at least."""
        wait_s = self._wait_s
        self._wait_s = min(wait_s * 2, WAIT_MAX_S)
        return max(wait_s / 2 + random.random() * wait_s / 2, retry_after_s or 0.0)


class Repeats:
    """The repetitions of one request."""

    def __init__(self, for_s: float) -> None:
        self._until = time.monotonic() + for_s
        self._backoff = Backoff()

    def wait(self, error: OrderEngineError) -> bool:
        """Waits until the request is repeated. Returns false if it is not."""
        wait_s = self._backoff.next(error.retry_after_s)
        if not error.is_repeated or time.monotonic() + wait_s > self._until:
            return False
        time.sleep(wait_s)
        return True

    def run(self, call: Callable[[], T]) -> T:
        """Calls until there is a result, or no repetition helps."""
        while True:
            try:
                return call()
            except OrderEngineError as error:
                if not self.wait(error):
                    raise
