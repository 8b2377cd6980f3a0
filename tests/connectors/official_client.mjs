// The official client in TypeScript: calls items_give over a way, answers the question of the hub, prints the result.
import { createRequire } from "node:module";
import { join } from "node:path";

const { home, url, token, command, tool, answer } = JSON.parse(process.argv[2]);
const load = createRequire(join(home, "package.json"));
const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { ElicitRequestSchema } = load("@modelcontextprotocol/sdk/types.js");

const client = new Client({ name: "official", version: "1" }, { capabilities: { elicitation: { form: {} } } });
let asked = 0;
client.setRequestHandler(ElicitRequestSchema, () => ((asked += 1), answer));
const headers = { authorization: `Bearer ${token}` };
await client.connect(
  url ? new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }) : new StdioClientTransport({ command: command[0], args: command.slice(1) }),
);
const result = await client.callTool(tool);
console.log(JSON.stringify({ asked, isError: result.isError === true }));
await client.close();
