"""The node that scripts/schemathesis asks: `play.py project FOLDER` writes it, `play.py fill URL` waits for it and gives it something to show."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

AGENT = """---
description: Answers, and sends letters that a person agreed to.
version: 1.0.0
model: demo/demo
tools: [clock, calculator, send_letter]
limits: { sync_run: 2s }
---
You help the customers of a shop.
"""
# Nothing listens there: a letter that is approved is not sent.
TOOL = """name: send_letter
version: 1.0.0
description: Sends a letter to a customer.
endpoint: http://127.0.0.1:9/letters
requires_approval: true
parameters:
  type: object
  properties: {}
"""


def project(folder):
    for name, text in (("agents/assistant.md", AGENT), ("tools/send_letter.yaml", TOOL), ("maniple.yaml", "store: 'memory:'\n")):
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)


def ask(url, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def fill(url):
    until = time.monotonic() + 30
    while True:
        try:
            ask(url, "/ready")
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    described = ask(url, "/openapi.json")["paths"]
    turn = described["/run"]["post"]["requestBody"]["content"]["application/json"]["examples"]["turn"]["value"]
    ask(url, "/run", turn)
    definition = described["/tools"]["post"]["requestBody"]["content"]["application/json"]["examples"]["order"]["value"]
    ask(url, "/tools?source=added", definition)
    for number in (1, 2, 3):
        ask(url, "/tasks", {"id": f"letter-{number}", "session_id": f"customer-{42 + number}", "prompt": "Send a letter."})
    while len(ask(url, "/approvals?state=open")["approvals"]) < 3:
        if time.monotonic() > until:
            raise SystemExit("the letters are not put to a person")
        time.sleep(0.1)


if sys.argv[1] == "project":
    project(sys.argv[2])
else:
    fill(sys.argv[2])
