// A server made with the official TypeScript SDK, on its standard streams.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "sums", version: "2.0.0" });
const numbers = { a: z.number(), b: z.number() };
server.registerTool("add", { description: "Adds two numbers.", inputSchema: numbers, annotations: { readOnlyHint: true } }, ({ a, b }) => ({
  content: [{ type: "text", text: String(a + b) }],
}));
server.registerTool("fail", { description: "Fails.", inputSchema: {} }, () => ({
  content: [{ type: "text", text: "no such thing" }],
  isError: true,
}));
await server.connect(new StdioServerTransport());
