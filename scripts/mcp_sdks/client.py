"""A client made with the official Python SDK, against a node's /mcp, by the newest protocol and by the one before."""

import asyncio
import sys

from mcp import Client, MCPError


async def check(url: str, mode: str) -> None:
    async with Client(url, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["agent_clerk"] + [f"{s}_{t}" for s in ("pyhttp", "pystdio", "tsstdio") for t in ("add", "fail")], tools
        for tool in ("pyhttp_add", "pystdio_add", "tsstdio_add"):
            result = await client.call_tool(tool, {"a": 17, "b": 25})
            assert not result.is_error and "42" in result.content[0].text, result
        refused = await client.call_tool("pystdio_fail", {})
        assert refused.is_error and "Error executing tool fail" in refused.content[0].text, refused
        answered = await client.call_tool("agent_clerk", {"prompt": "hello"})
        assert not answered.is_error and answered.structured_content["status"] == "completed", answered
        try:
            await client.call_tool("nothing", {})
        except MCPError as error:
            assert error.error.code == -32602, error
        else:
            raise AssertionError("a tool that is not there was called")
        print(f"ok: the Python client, {client.protocol_version}")


for mode in ("auto", "legacy"):
    asyncio.run(check(sys.argv[1], mode))
