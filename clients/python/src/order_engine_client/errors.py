"""Why a call fails."""

from __future__ import annotations

from typing import Any


class OrderEngineError(Exception):
    """Every failure of this package."""

    #: When to try again, in seconds, if the server says.
    retry_after_s: float | None = None

    @property
    def code(self) -> str | None:
        """The code of the server's refusal, such as ``order-not-found``."""
        return None

    @property
    def is_passing(self) -> bool:
        """Whether waiting may help."""
        return False

    @property
    def is_repeated(self) -> bool:
        """Whether the client repeats the request."""
        return False

    @property
    def leaves_doubt(self) -> bool:
        """Whether a request with this answer may have been carried out."""
        return False


class Refused(OrderEngineError):
    """The server said no."""

    def __init__(self, problem: dict[str, Any], retry_after_s: float | None) -> None:
        fields = [f"\n  {error.get('field')}: {error.get('message')}" for error in problem.get("errors", [])]
        super().__init__(f"{problem['status']} {problem['code']}: {problem.get('detail')}{''.join(fields)}")
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.problem["status"])

    @property
    def code(self) -> str:
        return str(self.problem["code"])

    @property
    def is_passing(self) -> bool:
        return self.status == 429 or self.status >= 500

    @property
    def is_repeated(self) -> bool:
        # A pause is an operator's decision, and may last.
        is_told = self.retry_after_s is not None and self.status in (429, 503) and self.code != "paused"
        return is_told or self.leaves_doubt

    @property
    def leaves_doubt(self) -> bool:
        # The server says so, or it is not the server that answered.
        return self.code == "outcome-unknown" or (self.code == "" and self.status >= 500)


class Unreachable(OrderEngineError):
    """There is no answer."""

    def __init__(self, url: str, reason: str, may_have_arrived: bool) -> None:
        super().__init__(f"cannot reach {url}: {reason}")
        self.may_have_arrived = may_have_arrived

    @property
    def is_passing(self) -> bool:
        return True

    @property
    def is_repeated(self) -> bool:
        return True

    @property
    def leaves_doubt(self) -> bool:
        return self.may_have_arrived


class InDoubt(OrderEngineError):
    """The order may have been placed, and nobody said so. The same form with this key places it once."""

    def __init__(self, key: str, cause: OrderEngineError) -> None:
        super().__init__(f"the order may have been placed; it is placed once if it is repeated with the key {key}")
        self.key = key
        self.order_id: str | None = cause.problem.get("orderId") if isinstance(cause, Refused) else None
        self.__cause__ = cause

    @property
    def code(self) -> str | None:
        return self.__cause__.code if isinstance(self.__cause__, OrderEngineError) else None


class Unexpected(OrderEngineError):
    """The server answered what it should not."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the server answered what this client does not understand: {reason}")

    @property
    def leaves_doubt(self) -> bool:
        return True


class SettingsError(OrderEngineError):
    """The settings are not usable."""
