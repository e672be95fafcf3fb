"""The real server as a process, and a network in front of it that loses answers on request."""

from __future__ import annotations

import atexit
import http.client
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SERVER_BINARY") or str(ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/order-engine-server")


class Site:
    """A server whose orders outlive it."""

    def __init__(self, *args: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="order-engine-python-")
        self._args = args
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        args = [
            "--port", str(self.port), "--store", f"sqlite:{self._folder}/orders.db", "--sim-ledger", f"{self._folder}/ledger.jsonl",
            "--sim-fail-rate", "0", "--lease-ms", "1000", *self._args,
        ]
        process = self._process = subprocess.Popen([BINARY, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # However the tests end, their servers do.
        atexit.register(process.kill)
        log = ""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            log += line
            if found := re.search(r"listening on http://[^:]+:(\d+)", line):
                self.port = int(found.group(1))
                break
        else:
            raise RuntimeError(f"the server ended:\n{log}")
        # What nobody reads fills its pipe.
        self._reading = threading.Thread(target=self._process.stderr.read)
        self._reading.start()

    def kill(self) -> None:
        """Ends the server without a farewell, as a crash would."""
        self._process.kill()
        self._process.wait()
        self._reading.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)


class Network:
    """A proxy in front of a server that does what a test wants of each request.

    ``decide`` is asked about each: ``lose`` passes it on and breaks the connection, a number is answered in the server's place.
    """

    def __init__(self, port: int) -> None:
        self.decide: Callable[[str], str | int | None] = lambda method: None
        network = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                decision = network.decide(self.command)
                self.close_connection = True
                if isinstance(decision, int):
                    self.send_response(decision)
                    self.end_headers()
                    return
                onward = http.client.HTTPConnection("127.0.0.1", port)
                onward.request(self.command, self.path, body, dict(self.headers.items()))
                answer = onward.getresponse()
                content = answer.read()
                onward.close()
                if decision == "lose":
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def once(self, decision: str | int) -> None:
        """Loses the answer of the next POST, or answers it by a number."""
        left = [decision]
        self.decide = lambda method: left.pop() if method == "POST" and left else None

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
