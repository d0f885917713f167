// A client made with the official TypeScript SDK, against a node's /mcp.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import assert from "node:assert/strict";

const client = new Client({ name: "check", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
const tools = (await client.listTools()).tools.map((tool) => tool.name);
assert.deepEqual(tools, ["agent_clerk", "pyhttp_add", "pyhttp_fail", "pystdio_add", "pystdio_fail", "tsstdio_add", "tsstdio_fail"]);
for (const name of ["pyhttp_add", "pystdio_add", "tsstdio_add"]) {
  const result = await client.callTool({ name, arguments: { a: 17, b: 25 } });
  assert.ok(!result.isError && result.content[0].text.includes("42"), JSON.stringify(result));
}
const failed = await client.callTool({ name: "tsstdio_fail", arguments: {} });
assert.ok(failed.isError && failed.content[0].text.includes("no such thing"), JSON.stringify(failed));
const answered = await client.callTool({ name: "agent_clerk", arguments: { prompt: "hello" } });
assert.equal(answered.structuredContent.status, "completed", JSON.stringify(answered));
await assert.rejects(client.callTool({ name: "nothing", arguments: {} }), (error) => error.code === -32602);
await client.close();
console.log("ok: the TypeScript client");
