"""The services behind the shop's tools: a payment service and a warehouse. Every call that arrives is in the ledger."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Ledger:
    """What arrived, and what was done."""

    def __init__(self):
        self.changed = threading.Condition()
        self.arrived = []  # one entry a call: path, key, arguments
        self.done = []  # what the services did
        self.answers = {}  # reservations by their key: the same key is the same reservation

    def take(self, path, key, arguments):
        """Notes a call and does what it asks, unless it was done under this key already."""
        with self.changed:
            self.arrived.append({"path": path, "key": key, "arguments": arguments})
            answer = self.answers.get(key)
            if answer is None:
                self.done.append({"path": path, "key": key, "arguments": arguments})
                answer = {"number": len(self.done), **arguments}
                if path == "/reservations":  # the payment service keeps no keys
                    self.answers[key] = answer
            self.changed.notify_all()
            return answer


def server(port, pause):
    """A server on loopback; `pause(path)` is called after a call is done and before it is answered."""
    ledger = Ledger()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = ledger.take(self.path, self.headers.get("Idempotency-Key"), json.loads(body or b"{}"))
            pause(self.path)
            self.reply(answer)

        def reply(self, value):
            body = json.dumps(value).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # whoever asked is gone

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass  # a client that is killed is why this server exists

    return Server(("127.0.0.1", port), Handler), ledger
