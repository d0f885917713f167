"""A shop for the example: orders, refunds that know their Idempotency-Key, letters that do not.

Every arrival is one line of ledger.jsonl, so that one can see what reached the world, and how often.
"""

import json
import pathlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LEDGER = pathlib.Path(__file__).with_name("ledger.jsonl")
ORDERS = {
    "A-1007": {"order": "A-1007", "customer": "C-12", "cents": 4990, "delivered_days_ago": 12},
    "A-1008": {"order": "A-1008", "customer": "C-34", "cents": 1250, "delivered_days_ago": 90},
}
booked = {}  # Idempotency-Key -> what was answered


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        order = ORDERS.get(self.path.removeprefix("/orders/"))
        self.reply(200 if order else 404, order or {"error": "there is no such order"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key")
        with LEDGER.open("a") as ledger:
            ledger.write(json.dumps({"path": self.path, "key": key, "body": body}) + "\n")
        if self.path == "/refunds":
            self.reply(200, booked.setdefault(key, {"refund": f"R-{len(booked) + 1}", **body}))
        elif self.path == "/letters":
            self.reply(200, {"letter": "on its way"})
        else:
            self.reply(404, {"error": "there is nothing here"})

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    print("the shop is open at http://127.0.0.1:9200, its ledger is", LEDGER)
    ThreadingHTTPServer(("127.0.0.1", 9200), Shop).serve_forever()
