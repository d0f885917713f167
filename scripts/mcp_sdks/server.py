"""A server made with the official Python SDK: on its standard streams, or over HTTP at a port."""

import sys

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("sums", version="1.2")


@server.tool(description="Adds two numbers.", annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    return a + b


@server.tool(description="Fails.")
def fail() -> str:
    raise ValueError("no such thing")


if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run("stdio")
