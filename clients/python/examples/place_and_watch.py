"""Places an order and watches it to its end. Stop the server in the middle and start it again: no event is missed."""

import sys

from order_engine_client import Client, InDoubt


def main() -> int:
    """Places the order of the command line."""
    if len(sys.argv) != 4:
        print("which order? place_and_watch.py 1.5 SOL USDC", file=sys.stderr)
        return 2
    amount, token_in, token_out = sys.argv[1:]
    # ORDER_ENGINE_URL, ORDER_ENGINE_KEY, or the file that the command line reads as well.
    client = Client.from_env()
    try:
        placed = client.place({"amount": amount, "tokenIn": token_in, "tokenOut": token_out, "slippageBps": 50})
    except InDoubt as doubt:
        print(f"in doubt; repeat with the key {doubt.key}", file=sys.stderr)
        return 1
    print(f"order {placed['orderId']} under the key {placed['clientOrderId']}")
    status = placed["status"]
    for event in client.follow(placed["orderId"], on_interrupted=lambda reason: print(f"interrupted: {reason}", file=sys.stderr)):
        print(f"{event['seq']} {event['progress']}% {event['message']}", flush=True)
        status = event["status"]
    return 0 if status == "confirmed" else 1


if __name__ == "__main__":
    sys.exit(main())
