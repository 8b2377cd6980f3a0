// A device of the package: what happens is a line of JSON on the standard output, and a line of its input a command:
// [number, name, arguments], a method of the device, which is answered by such a line, too.
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { Device } from "../../hub/device/typescript/dist/index.js";
import { FileStore, Folders } from "../../hub/device/typescript/dist/node.js";

const { store, folders, tools = [], ...options } = JSON.parse(process.argv[2]);
const say = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);
class Store extends FileStore {
  async write(entries) {
    if (existsSync(`${store}.full`)) throw new Error("no space left on device"); // as a test wants it
    await super.write(entries);
  }
}
const device = new Device({
  ...options,
  store: new Store(store),
  ...(folders ? { files: new Folders(folders) } : {}),
  tools: Object.fromEntries(tools.map((name) => [name, (call) => (say("tool", name, call.id, call.data), { done: name })])),
});
const events = ["connected", "disconnected", "pairing", "suggestion", "withdrawn", "run", "event", "warning", "read", "closed"];
for (const name of events) device.on(name, (event) => say(name, event));
process.on("SIGTERM", () => device.close().then(() => process.exit(0)));
createInterface({ input: process.stdin }).on("line", async (line) => {
  const [number, name, ...args] = JSON.parse(line);
  try {
    say("done", number, (await device[name](...args)) ?? null);
  } catch (error) {
    say("failed", number, error.code ?? error.name, error.message);
  }
});
await device.connect().catch(() => process.exit(3));
