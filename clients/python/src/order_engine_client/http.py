"""Calls the server, by the standard library's client of HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from .errors import OrderEngineError, Refused, Unexpected, Unreachable

#: How long connecting may take, and how long the server may be silent before it answers, in seconds.
CONNECT_TIME_MAX_S = 10.0
ANSWER_TIME_MAX_S = 30.0
#: How many connections wait for the next request.
IDLE_MAX = 4

FAILURES = (OSError, http.client.HTTPException)


class Answer:
    """A successful answer."""

    def __init__(self, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """Returns the document."""
        return parsed(self.body)


class Http:
    """The way to one server. Threads may share it."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._headers = {"User-Agent": "order-engine-client-python/0.1.0"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def call(self, method: str, path: str, body: str | None = None, time_s: float = ANSWER_TIME_MAX_S) -> Answer:
        """Calls the server, and reads its answer. It may be silent for so many seconds."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection = self._connection()
        try:
            response = self._send(connection, method, path, body, headers, time_s)
            content = response.read()
        except FAILURES as error:
            connection.close()
            raise self.unreachable(error, True) from None
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        if response.status >= 300:
            raise refused(response, content)
        return Answer(response.headers, content)

    def stream(self, path: str, last_id: str | None, silence_max_s: float) -> Stream | None:
        """Begins to read a stream of events. There is none if the answer has no content."""
        headers = {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        connection = self._connection()
        # The response takes it over, and the connection knows it no more.
        sock = connection.sock
        try:
            response = self._send(connection, "GET", path, None, headers, ANSWER_TIME_MAX_S)
            content = response.read() if response.status != 200 else b""
            sock.settimeout(silence_max_s)
        except FAILURES as error:
            connection.close()
            raise self.unreachable(error, True) from None
        if response.status == 200:
            return Stream(connection, response, sock)
        connection.close()
        if response.status == 204:
            return None
        raise refused(response, content)

    def unreachable(self, error: BaseException | str, may_have_arrived: bool) -> OrderEngineError:
        """Returns the failure of a request without an answer."""
        reason = error if isinstance(error, str) else str(error) or type(error).__name__
        return Unreachable(self.url, reason, may_have_arrived)

    def close(self) -> None:
        """Ends the connections that wait for a request."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: str | None,
        headers: dict[str, str],
        time_s: float,
    ) -> http.client.HTTPResponse:
        if connection.sock is not None:
            connection.sock.settimeout(time_s)
        text = body.encode("utf-8") if body is not None else None
        connection.request(method, self._base + path, text, {**self._headers, **headers})
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        """Returns a connection: one that waits, unless the server has closed it, or a new one."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connected()
            # Nothing is asked, so whatever there is to read is the end.
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIME_MAX_S)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_TIME_MAX_S, context=self._tls)
        try:
            connection.connect()
        except FAILURES as error:
            connection.close()
            raise self.unreachable(error, False) from None
        return connection

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()


class Stream:
    """The body of a stream of events."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._connection = connection
        self._response = response
        self._sock = sock

    def read(self) -> bytes:
        """Returns the next piece, and nothing at the end."""
        return self._response.read1(1 << 16)

    def close(self) -> None:
        """Ends the stream, also while another thread reads it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._response.close()
        self._connection.close()


def parsed(body: bytes | str) -> Any:
    """Returns the document of a text."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise Unexpected(str(error)) from None


def refused(response: http.client.HTTPResponse, body: bytes) -> Refused:
    """Returns why the server refused, or that somebody between did."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        problem = {"code": "", "detail": "the answer does not say why"}
    seconds = response.headers.get("Retry-After", "")
    return Refused({**problem, "status": response.status}, float(seconds) if seconds.isdigit() else None)
