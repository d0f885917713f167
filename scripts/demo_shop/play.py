"""Played by scripts/demo: an agent, its tools, and three starts of one node with two kill -9 between them.

The services behind the tools live in this process and keep the ledger: what they count is independent of the node.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request

import tool_server

SHOP = pathlib.Path(__file__).resolve().parent

PATIENCE = 60  # seconds anything here may take; with a real model ten times that
BOLD, DIM, RED, OFF = ("\033[1m", "\033[2m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 4


def say(text=""):
    print(text, flush=True)


def head(text):
    say(f"\n{BOLD}== {text}{OFF}")


class Node:
    """A maniple node over a project folder; it may be killed and started again."""

    def __init__(self, binary, folder, model):
        self.binary, self.folder, self.process, self.url = binary, folder, None, None
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("MANIPLE_")}
        if model:
            self.environment["MANIPLE_MODEL"] = model

    def start(self):
        command = [self.binary, "--json", "serve", "--config", str(self.folder / "maniple.yaml"), "--listen", "127.0.0.1:0"]
        with open(self.folder / "node.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the node did not start:\n" + (self.folder / "node.log").read_text())
        self.url = json.loads(line)["url"]
        say(f"   node {self.process.pid} answers at {self.url}")

    def kill(self):
        self.process.kill()  # SIGKILL: no handler, no goodbye
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """As an orchestrator would: SIGTERM, and it leaves by itself."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                return None
            self.process.stdout.close()
            return code
        return None

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)


class Follower(threading.Thread):
    """Tells a task's events as they come, until its end or until the node is gone."""

    def __init__(self, url, task, seen, tell=True):
        super().__init__(daemon=True)
        self.address, self.task, self.seen, self.tell = urllib.parse.urlsplit(url).netloc, task, seen, tell
        self.noted = threading.Condition()
        self.start()

    def run(self):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        try:
            after = self.seen[-1]["id"] if self.seen else 0
            connection.request("GET", f"/tasks/{self.task}/events?after={after}")
            for line in connection.getresponse():
                event = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if "id" in event:  # pieces of text have none
                    with self.noted:
                        self.seen.append(event)
                        self.noted.notify_all()
                    if self.tell:
                        say("   " + told(event))
        except (OSError, http.client.HTTPException):
            pass  # the node is gone: whoever started this follows on from the last number
        finally:
            connection.close()

    def wait_for(self, fits):
        with self.noted:
            return self.noted.wait_for(lambda: any(fits(event) for event in self.seen), PATIENCE)


def told(event):
    """An event on one line."""
    kind, data = event["type"], event["data"]
    text = {
        "task.accepted": lambda: data["prompt"],
        "model.started": lambda: f"{data['model']}, attempt {data['attempt']}",
        "model.finished": lambda: data["text"] or ", ".join(call["name"] for call in data["calls"]),
        "tool.started": lambda: f"{data['name']} {json.dumps(data['arguments'])}, key {data['key']}, {data['effect']}",
        "tool.finished": lambda: f"{data['name']} {data['status']}: {json.dumps(data['result'], ensure_ascii=False)}",
        "task.completed": lambda: data["output"],
        "task.failed": lambda: f"{data['error']}: {data['error_detail']}",
    }.get(kind, lambda: "")()
    text = " ".join(re.sub(r"^\[demo model[^\]]*\]", "", text or "").split())
    return f"{event['id']:>3}  {kind:<15} {DIM}{text[:130] + '…' if len(text) > 130 else text}{OFF}"


class Held:
    """Calls that the services have done and not answered yet."""

    def __init__(self):
        self.paths, self.let_go = set(), threading.Event()

    def hold(self, path):
        self.let_go.clear()
        self.paths.add(path)

    def release(self):
        self.paths.clear()
        self.let_go.set()

    def pause(self, path):
        if path in self.paths:
            self.let_go.wait(PATIENCE)


class Checks:
    """What must hold; all of it is told, and one miss fails the demo."""

    def __init__(self):
        self.failed = 0

    def that(self, holds, text):
        self.failed += not holds
        say(f"   {'ok    ' if holds else RED + 'FAILED' + OFF}  {text}")


def killed_in_flight(node, ledger, held, task, prompt, path, before_kill, waiting=()):
    """Asks, kills the node when a call of `path` was done but not answered, and follows the task to its end. Returns its events."""
    held.hold(path)
    earlier = len(ledger.arrived)
    node.ask("/tasks", {"id": task, "session_id": f"{task}-session", "prompt": prompt})
    for later in waiting:
        node.ask("/tasks", {"id": later, "session_id": f"{task}-session", "prompt": "What is 6 * 7?"})
    events = []
    follower = Follower(node.url, task, events)
    with ledger.changed:
        arrived = ledger.changed.wait_for(lambda: any(call["path"] == path for call in ledger.arrived[earlier:]), PATIENCE)
    if not arrived:
        raise SystemExit(f"the model made no call of {path}; see the events above, or use another model")
    follower.wait_for(before_kill)
    node.kill()
    held.release()
    follower.join(PATIENCE)
    say(f"   {BOLD}kill -9{OFF}  the service has done what {path} asked; nobody has heard its answer")
    node.start()
    Follower(node.url, task, events).join(PATIENCE)
    return events


def numbers(events):
    return [event["id"] for event in events] == list(range(1, len(events) + 1))


def calls(ledger, task, path):
    return [call for call in ledger.arrived if call["path"] == path and (call["key"] or "").startswith(f"{task}:")]


def play(node, ledger, held, checks, real_model):
    head("1. A node, an agent, a tool")
    node.start()
    say(f"   {DIM}$ maniple run \"What is 17 * 23?\"{OFF}")
    run = subprocess.run([node.binary, "run", "--url", node.url, "What is 17 * 23?"], env=node.environment, timeout=PATIENCE,
                         capture_output=True, text=True)
    say("\n".join("   " + line for line in run.stderr.splitlines()))
    checks.that(run.returncode == 0 and "391" in run.stdout, "it answered 391")

    head("2. kill -9 while a call is in flight that may be sent again")
    task, later = "order-1", [f"order-1-later-{n}" for n in (1, 2, 3)]
    charged = lambda event: event["type"] == "tool.finished" and event["data"]["name"] == "charge_card"  # noqa: E731
    events = killed_in_flight(node, ledger, held, task, 'Charge the card 24.9 euros and reserve "blue mug" in stock',
                              "/reservations", charged if not real_model else lambda _: True, later)
    charges, reservations = calls(ledger, task, "/charges"), calls(ledger, task, "/reservations")
    reserved = [call for call in ledger.done if call in reservations]
    by_key = {}
    for call in reservations:
        by_key.setdefault(call["key"], []).append(call["arguments"])
    say()
    checks.that(events[-1]["type"] == "task.completed", "the run went on from its record and completed")
    checks.that(numbers(events), f"its {len(events)} events came once each, in order, over both nodes")
    once_each = len({call["key"] for call in charges}) == len(charges) and (real_model or len(charges) == 1)
    checks.that(once_each, f"the charge, whose outcome was recorded, arrived {len(charges)} time")
    checks.that(all(all(a == given[0] for a in given) for given in by_key.values()) and len(reserved) == len(by_key),
                f"the reservation arrived {len(reservations)} times under {len(by_key)} key with the same arguments: {len(reserved)} reservation")
    for name in later:
        waited = []
        Follower(node.url, name, waited, tell=False).join(PATIENCE)
        checks.that(bool(waited) and waited[-1]["type"] == "task.completed", f"{name}, accepted before the kill, completed")

    head("3. kill -9 while a call is in flight that must never be sent twice")
    task = "order-2"
    events = killed_in_flight(node, ledger, held, task, "Charge the card 9.5 euros", "/charges", lambda _: True)
    charges = calls(ledger, task, "/charges")
    status = [event["data"]["status"] for event in events if event["type"] == "tool.finished"]
    say()
    checks.that(events[-1]["type"] == "task.completed", "the run went on from its record and completed")
    checks.that(numbers(events), f"its {len(events)} events came once each, in order, over both nodes")
    checks.that(len(charges) == 1, f"the charge arrived {len(charges)} time at the service")
    checks.that(status[:1] == ["in_doubt"], "the model was told that it may have happened: nobody knows, so it is not repeated")

    head("4. What the services' ledger says")
    for call in ledger.arrived:
        say(f"   arrived  {call['path']:<14} {json.dumps(call['arguments']):<22} key {call['key']}")
    say(f"   done     {len(ledger.done)} of {len(ledger.arrived)} arrivals changed something")
    checks.that(node.stop() == 0, "SIGTERM: the node left by itself with exit code 0")


def main():
    global PATIENCE
    model = sys.argv[2] if sys.argv[1:2] == ["--model"] and len(sys.argv) == 3 else None
    if len(sys.argv) > 1 and not model:
        raise SystemExit("usage: scripts/demo [--model PROVIDER/MODEL]")
    PATIENCE *= 10 if model else 1
    checks, held = Checks(), Held()
    services, ledger = tool_server.server(0, held.pause)
    threading.Thread(target=services.serve_forever, daemon=True).start()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="maniple-demo-"))
    node = Node(os.environ["MANIPLE_BIN"], folder, model)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for name in ("maniple.yaml", "agents", "tools"):
            (shutil.copytree if (SHOP / name).is_dir() else shutil.copy)(SHOP / name, folder / name)
        for tool in (folder / "tools").iterdir():
            tool.write_text(tool.read_text().replace("127.0.0.1:9200", f"127.0.0.1:{services.server_port}"))
        play(node, ledger, held, checks, bool(model))
    finally:
        held.release()
        if node.process and node.process.poll() is None:
            node.kill()
        services.shutdown()
        services.server_close()
        shutil.rmtree(folder, ignore_errors=True)
    say()
    if checks.failed:
        raise SystemExit(f"{checks.failed} of these did not hold")
    say(f"{BOLD}Nothing was lost, and nothing happened twice.{OFF}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except urllib.error.URLError as error:
        raise SystemExit(f"the node did not do as it was asked: {error} {getattr(error, 'fp', None) and error.read().decode()}")
