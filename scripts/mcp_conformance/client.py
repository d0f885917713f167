"""A client for the conformance suite: a node that imports the server at the URL it is given, and calls what it finds there.

The suite says which scenario it is (`MCP_CONFORMANCE_SCENARIO`), and which calls it wants (`MCP_CONFORMANCE_CONTEXT`).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
FOUND_WITHIN_S = 25
AGENT = "---\ndescription: Calls.\nversion: 1.0.0\nmodel: demo/demo\ntools: [%s]\n---\nYou call.\n"


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def found(url):
    """The imported tools, once they are there."""
    until = time.time() + FOUND_WITHIN_S
    while time.time() < until:
        try:
            tools = [tool for tool in ask(f"{url}/tools?limit=200")["tools"] if tool["source"] == "mcp" and tool["state"] == "healthy"]
            if tools:
                return tools
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.1)
    return []


def sample(schema):
    """Arguments that fit a plain schema."""
    made = {"string": "x", "number": 5, "integer": 3, "boolean": True, "array": [], "object": {}}
    return {name: made.get(of.get("type"), "x") for name, of in schema.get("properties", {}).items() if name in schema.get("required", [])}


def calls(tools):
    by_name = {tool["definition"]["endpoint"].split("/", 1)[1]: tool["definition"] for tool in tools}
    for call in CONTEXT.get("toolCalls", []):
        if call["name"] in by_name:
            yield by_name[call["name"]]["name"], call.get("arguments", {})
    if CONTEXT.get("toolCalls"):
        return
    seen = by_name.get("json_schema_2020_12_tool", {}).get("parameters")
    for definition in by_name.values():
        arguments = sample(definition["parameters"])
        yield definition["name"], {"schema": seen} if "schema" in arguments and seen else arguments


def main():
    folder = tempfile.mkdtemp()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    os.makedirs(f"{folder}/agents")
    with open(f"{folder}/maniple.yaml", "w") as file:
        json.dump({"store": "memory:", "mcp": {"c": {"url": sys.argv[-1], "confirm": "all"}}}, file)
    agent = f"{folder}/agents/a.md"
    with open(agent, "w") as file:
        file.write(AGENT % "")
    node = subprocess.Popen([os.environ["NODE_BINARY"], "dev", folder, "--listen", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=sys.stderr)
    try:
        tools = found(url)
        with open(agent + ".new", "w") as file:
            file.write(AGENT % ", ".join(tool["definition"]["name"] for tool in tools))
        os.replace(agent + ".new", agent)
        until = time.time() + 5
        while tools and time.time() < until and not ask(f"{url}/tools?agent=a").get("tools"):
            time.sleep(0.1)
        for name, arguments in calls(tools):
            print(name, json.dumps(ask(f"{url}/tools/{name}/invoke", {"agent": "a", "arguments": arguments})), file=sys.stderr)
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(10)
        except subprocess.TimeoutExpired:
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)


main()
