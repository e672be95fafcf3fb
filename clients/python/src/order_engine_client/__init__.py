"""A client of the HTTP interface of order-engine: orders that are placed once, and streams that miss and repeat nothing."""

from .client import Client
from .errors import InDoubt, OrderEngineError, Refused, SettingsError, Unexpected, Unreachable
from .follow import Event, EventStream
from .place import Outcome, Placed

__all__ = [
    "Client",
    "Event",
    "EventStream",
    "InDoubt",
    "OrderEngineError",
    "Outcome",
    "Placed",
    "Refused",
    "SettingsError",
    "Unexpected",
    "Unreachable",
]
