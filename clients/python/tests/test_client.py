"""The client against the real server: answers that are lost, crashes in the middle of streams, keys."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from order_engine_client import Client, InDoubt, OrderEngineError, Refused, SettingsError, Unreachable
from order_engine_client.sse import Message, Parser
from order_engine_client.types import OrderForm

from .server import BINARY, Network, Site

FORM: OrderForm = {"amount": "1.5", "tokenIn": "SOL", "tokenOut": "USDC"}


def of(user: str) -> OrderForm:
    return {**FORM, "userId": user}


class Case(unittest.TestCase):
    def new_client(self, url: str, key: str | None = None, **options: float) -> Client:
        """Returns a client that is closed with the test."""
        client = Client(url, key, **options)  # type: ignore[arg-type]
        self.addCleanup(client.close)
        return client


class OneServer(Case):
    """What one server and a network that loses answers suffice for."""

    site: Site
    network: Network

    @classmethod
    def setUpClass(cls) -> None:
        cls.site = Site("--sim-delay-ms", "20")
        cls.network = Network(cls.site.port)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.network.end()
        cls.site.end()

    def setUp(self) -> None:
        self.client = self.new_client(self.site.url)

    def number_of(self, user: str) -> int:
        return len(self.client.orders(user_id=user, limit=200)["orders"])

    def test_an_order_whose_answer_is_lost_is_placed_once(self) -> None:
        self.network.once("lose")
        placed = self.new_client(self.network.url).place(of("lost"))
        self.assertTrue(placed["isReplay"])
        self.assertEqual(self.number_of("lost"), 1)
        named = self.client.order_named(placed["clientOrderId"], user_id="lost")
        self.assertEqual(named["orderId"], placed["orderId"])

    def test_an_answer_of_somebody_between_is_in_doubt_and_the_order_is_placed_once(self) -> None:
        self.network.once(502)
        self.assertFalse(self.new_client(self.network.url).place(of("gateway"))["isReplay"])
        self.assertEqual(self.number_of("gateway"), 1)

    def test_who_does_not_repeat_is_told_the_key(self) -> None:
        self.network.once("lose")
        client = self.new_client(self.network.url, repeat_for_s=0)
        with self.assertRaises(InDoubt) as raised:
            client.place(of("key"))
        self.assertIsInstance(raised.exception.__cause__, Unreachable)
        form: OrderForm = {**of("key"), "clientOrderId": raised.exception.key}
        self.assertTrue(client.place(form)["isReplay"])
        self.assertEqual(self.number_of("key"), 1)

    def test_an_order_in_doubt_is_looked_up_if_its_repetition_is_refused(self) -> None:
        pausing = self.new_client(self.site.url)
        left = ["lose"]

        def decide(method: str) -> str | None:
            if method != "POST":
                return None
            if left:
                return left.pop()
            # The operator pauses the server between the first request and the second.
            pausing.post("/api/operator/pauses", {"activity": "accepting", "reason": "a test"})
            return None

        self.network.decide = decide
        try:
            self.assertTrue(self.new_client(self.network.url).place(of("refused"))["isReplay"])
            with self.assertRaises(Refused) as raised:
                self.client.place(FORM)
            self.assertEqual(raised.exception.code, "paused", "a first request is told at once")
        finally:
            pausing.post("/api/operator/pauses/end", {"activity": "accepting"})
        self.assertEqual(self.number_of("refused"), 1)

    def test_each_order_of_a_batch_is_placed_once(self) -> None:
        self.network.once("lose")
        forms: list[OrderForm] = [of("batch"), {**of("batch"), "amount": "0"}, {**of("batch"), "clientOrderId": "mine"}]
        first, refused, named = self.new_client(self.network.url).place_all(forms)
        assert first.order and refused.error and named.order
        self.assertTrue(first.order["isReplay"] and named.order["isReplay"])
        self.assertEqual((refused.error.code, named.order["clientOrderId"]), ("invalid-request", "mine"))
        self.assertEqual(self.number_of("batch"), 2)
        _, unknown = self.client.cancel_all([first.order["orderId"], "unknown"])
        assert unknown.error
        self.assertEqual(unknown.error.code, "order-not-found")

    def test_every_answer_is_as_described(self) -> None:
        quote = self.client.quote({"amount": "1.5", "tokenIn": "SOL", "tokenOut": "USDC", "slippageBps": 100})
        self.assertGreaterEqual(len(quote["quotes"]), 2)
        form: OrderForm = {**of("carol"), "slippageBps": 100, "quoteId": quote.get("quoteId"), "clientOrderId": "quoted"}
        self.assertEqual(self.client.dry_run(form)["amount"], "1.5")
        placed = self.client.place(form)
        self.assertEqual(self.client.order(placed["orderId"]).get("minOut"), quote.get("minOut"))
        seqs = [event["seq"] for event in self.client.follow(placed["orderId"])]
        orders = self.client.orders(user_id="carol", status=("failed", "confirmed"))["orders"]
        self.assertEqual(orders[0]["orderId"], placed["orderId"])
        self.assertEqual(len(self.client.events(placed["orderId"])["events"]), len(seqs))
        with self.assertRaises(Refused) as raised:
            self.client.cancel(placed["orderId"])
        self.assertEqual(raised.exception.code, "too-late")
        self.assertIn("SOL", [pair["tokenIn"] for pair in self.client.pairs()])
        self.assertIn("USDC", [token["symbol"] for token in self.client.tokens()])
        self.assertGreater(self.client.time()["unixMs"], 0)
        self.assertTrue(self.client.chain()["isSimulated"])
        with self.assertRaises(Refused) as raised:
            self.client.quote({"amount": "x", "tokenIn": "SOL", "tokenOut": "SOL"})
        self.assertEqual(len(raised.exception.problem["errors"]), 2)

    def test_a_stream_ends_when_nobody_wants_it_any_more_and_by_a_refusal(self) -> None:
        stream = self.client.follow_all(user_id="nobody")
        waiting = threading.Thread(target=lambda: list(stream))
        waiting.start()
        stream.close()
        waiting.join(10)
        self.assertFalse(waiting.is_alive())
        with self.assertRaises(Refused) as raised:
            self.client.follow("0190163d-8694-739b-aea5-966c26f8ad91")
        self.assertEqual(raised.exception.code, "order-not-found")

    def test_connections_are_used_again(self) -> None:
        connected = mock.patch.object(self.client._http, "_connected", wraps=self.client._http._connected)
        with connected as connecting:
            for _ in range(5):
                self.client.time()
            self.assertEqual(connecting.call_count, 1)


class OwnServers(Case):
    """What needs servers of its own, which crash."""

    def start(self, *args: str) -> Site:
        site = Site(*args)
        self.addCleanup(site.end)
        return site

    def assert_in_order(self, seqs: list[int]) -> None:
        self.assertEqual(seqs, list(range(1, len(seqs) + 1)))

    def test_every_event_of_an_order_comes_once_and_in_order_through_crashes(self) -> None:
        site = self.start("--sim-delay-ms", "250")
        client = self.new_client(site.url)
        placed = client.place(FORM)
        interruptions: list[str] = []
        seen = []
        stream = client.follow(placed["orderId"], on_interrupted=interruptions.append)
        for event in stream:
            seen.append(event)
            if event["seq"] in (2, 4):
                site.restart()
        self.assert_in_order([event["seq"] for event in seen])
        self.assertEqual((seen[-1]["status"], stream.last_seq), ("confirmed", len(seen)))
        self.assertGreaterEqual(len(interruptions), 2)
        self.assertEqual(client.events(placed["orderId"])["events"], seen)
        # Who has the last event is told that there is no more.
        self.assertEqual(list(client.follow(placed["orderId"], after=len(seen))), [])

    def test_every_event_of_all_orders_comes_once_through_crashes(self) -> None:
        site = self.start("--sim-delay-ms", "50")
        client = self.new_client(site.url)
        stream = client.follow_all()
        begun_at = stream.cursor
        # A crash before the first event: what happens meanwhile is not missed, because the place is known.
        site.restart()
        outcomes = self.new_client(site.url).place_all([FORM, FORM, FORM])
        seqs: dict[str, list[int]] = {outcome.order["orderId"]: [] for outcome in outcomes if outcome.order}
        ended = 0
        for event in stream:
            seqs[event["orderId"]].append(event["seq"])
            if event["seq"] == 3:
                site.restart()
            ended += event["status"] == "confirmed"
            if ended == 3:
                break
        stream.close()
        self.assertEqual(list(stream), [])
        for numbers in seqs.values():
            self.assert_in_order(numbers)
        # Behind a place that was kept, everything comes again.
        again: dict[str, list[int]] = {}
        with client.follow_all(after=begun_at) as stream:
            for event in stream:
                again.setdefault(event["orderId"], []).append(event["seq"])
                if again == seqs:
                    break
        self.assertEqual(again, seqs)

    def test_a_stream_that_falls_silent_is_made_again(self) -> None:
        site = self.start("--sim-delay-ms", "400")
        client = self.new_client(site.url, silence_max_s=0.1)
        placed = client.place(FORM)
        reasons: set[str] = set()
        seqs = [event["seq"] for event in client.follow(placed["orderId"], on_interrupted=reasons.add)]
        self.assert_in_order(seqs)
        self.assertIn("it fell silent", reasons)

    def test_an_order_that_was_never_sent_is_in_no_doubt(self) -> None:
        site = Site()
        site.end()
        with self.assertRaises(Unreachable) as raised:
            self.new_client(site.url, repeat_for_s=0).place(FORM)
        self.assertFalse(raised.exception.may_have_arrived)
        self.assertTrue(raised.exception.is_passing)

    def test_who_asks_too_often_waits_as_long_as_the_server_says(self) -> None:
        site = self.start("--address-rate", "2/1")
        client, impatient = self.new_client(site.url), self.new_client(site.url, repeat_for_s=0)
        for _ in range(5):
            client.time()
        error: OrderEngineError | None = None
        while error is None:
            try:
                impatient.time()
            except OrderEngineError as it:
                error = it
        self.assertEqual(error.code, "too-many-requests")
        self.assertGreaterEqual(error.retry_after_s or 0, 1)

    def test_a_key_opens_the_server_is_read_from_everywhere_and_shown_nowhere(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        keys = folder / "keys.json"
        command = [BINARY, "keys", "create", "--api-keys", str(keys), "--user", "alice", "--scopes", "read,trade"]
        key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        site = self.start("--api-keys", str(keys))
        with self.assertRaises(Refused) as raised:
            self.new_client(site.url).orders()
        self.assertEqual(raised.exception.code, "no-credential")
        file = folder / "cli.toml"
        file.write_text(f"# the server\nurl = \"{site.url}\"\nkey_file = 'key'\n")
        (folder / "key").write_text(f"{key}\n")
        (folder / "key").chmod(0o600)
        self.enterContext(mock.patch.dict(os.environ, {"ORDER_ENGINE_CONFIG": str(file)}))
        client = Client.from_env()
        self.addCleanup(client.close)
        placed = client.place(FORM)
        self.assert_in_order([event["seq"] for event in client.follow(placed["orderId"])])
        with self.assertRaises(Refused) as raised:
            client.get("/api/operator/stats")
        self.assertEqual(raised.exception.code, "missing-scope")
        seen = repr([client, raised.exception]) + str(raised.exception)
        (folder / "key").chmod(0o644)
        with self.assertRaises(SettingsError):
            Client.from_env()
        for text in (f'key = "{key}\n', f'kei = "{key}"\n', f'key = "{key}"\nkey_file = "key"\n'):
            file.write_text(text)
            file.chmod(0o600)
            with self.assertRaises(SettingsError) as wrong:
                Client.from_env()
            seen += repr(wrong.exception) + repr(wrong.exception.__cause__)
        with self.assertRaises(SettingsError) as wrong:
            Client("http://trader.example", key)
        self.assertNotIn(key[-20:], seen + str(wrong.exception))


class Pieces(unittest.TestCase):
    def test_events_come_together_from_any_pieces(self) -> None:
        text = 'retry: 1000\n\n:\n\nid: 1\ndata: {"a":1}\n\nid:2\r\ndata: x\r\ndata: é\r\n\r\ndata: r\r\rdata: cut'.encode()
        expected = [Message("1", '{"a":1}'), Message("2", "x\né"), Message(None, "r")]
        for size in range(1, len(text)):
            parser = Parser()
            messages = [it for at in range(0, len(text), size) for it in parser.take(text[at : at + size])]
            self.assertEqual(messages, expected, f"pieces of {size}")

    def test_addresses_are_checked(self) -> None:
        for url in ("http://127.0.0.1:3000", "http://localhost:3000/", "http://[::1]:3000", "https://trader.example"):
            with contextlib.closing(Client(url, "oek_x")):
                pass
        for url in ("trader.example", "ftp://trader.example", "http://a:b@host", "http://host/?x=y", "", "http://host:x"):
            with self.assertRaises(SettingsError, msg=url):
                Client(url)


if __name__ == "__main__":
    unittest.main()
