"""The tools that the conformance suite asks a server for, as MCP servers on standard streams: what a node imports, its `/mcp` serves.

`tools.py test` serves `test_*`, without their prefix, for the node puts the server's name before each; `tools.py json` the one
that begins with `json_`.
"""

import json
import sys
import time

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
TEXT = {"type": "text", "text": "This is a simple text response for testing."}
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": WAV, "mimeType": "audio/wav"}


def resource(uri, text, kind="text/plain"):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}}


ADDRESS = {"type": "object", "$anchor": "addressDef", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
PLAIN = {"type": "object", "properties": {}}
HEADERS = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"}}}
SETS = {
    "json": {"schema_2020_12_tool": (SCHEMA, [TEXT])},
    "test": {
        "simple_text": (PLAIN, [TEXT]),
        "image_content": (PLAIN, [IMAGE]),
        "audio_content": (PLAIN, [AUDIO]),
        "embedded_resource": (PLAIN, [resource("test://embedded-resource", "This is an embedded resource content.")]),
        "multiple_content_types": (
            PLAIN,
            [{"type": "text", "text": "Multiple content types test:"}, IMAGE, resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")],
        ),
        "error_handling": (PLAIN, None),
        "tool_with_progress": (PLAIN, [TEXT]),
        "custom_header": (HEADERS, [TEXT]),
        "logging_tool": (PLAIN, [TEXT]),
        "streaming_elicitation": (PLAIN, [TEXT]),
    },
}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def call(tools, name, params):
    content = tools[name][1]
    if content is None:
        return {"isError": True, "content": [{"type": "text", "text": "This tool intentionally returns an error for testing"}]}
    if name == "logging_tool":
        send({"method": "notifications/message", "params": {"level": "info", "data": "This is a log message."}})
    token = params.get("_meta", {}).get("progressToken")
    if name == "tool_with_progress" and token is not None:
        for progress in (0, 50, 100):
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": progress, "total": 100}})
            time.sleep(0.05)
    return {"content": content}


def main():
    tools = SETS[sys.argv[1]]
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        method, params = message["method"], message.get("params") or {}
        if method == "initialize":
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "t", "version": "1.0.0"}}
        elif method == "tools/list":
            result = {"tools": [{"name": n, "description": f"Tests {n}.", "inputSchema": schema} for n, (schema, _) in tools.items()]}
        elif method == "tools/call":
            result = call(tools, params["name"], params)
        elif method == "ping":
            result = {}
        else:
            send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
            continue
        send({"id": message["id"], "result": result})


main()
