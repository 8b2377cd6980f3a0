// A stand-in of Obsidian around the built plug-in: a vault on the disk, and a person who edits notes. Notices and
// the status are lines of JSON on the standard output; a line of the input is [path, text, another text].
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import Module from "node:module";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { FileStore } from "../../hub/device/typescript/dist/node.js";

const { url, folders: [folder], store } = JSON.parse(process.argv[2]);
const say = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const listeners = [];
const text = (file) => readFileSync(join(folder, file.path), "utf8");
const fileOf = (path) => {
  const { size, mtimeMs } = statSync(join(folder, path));
  return { path, extension: extname(path).slice(1), stat: { size, mtime: mtimeMs } };
};
const vault = {
  getName: () => "notes",
  getFiles: () => readdirSync(folder).map(fileOf),
  getFileByPath: (path) => (readdirSync(folder).includes(path) ? fileOf(path) : null),
  readBinary: async (file) => readFileSync(join(folder, file.path)).buffer,
  cachedRead: async (file) => text(file),
  process: async (file, change) => {
    const [before, after] = [text(file), change(text(file))];
    if (after !== before) writeFileSync(join(folder, file.path), after);
    if (after !== before) for (const listener of listeners) listener(file);
    return after;
  },
  on: (_, listener) => listeners.push(listener),
};
class Plugin {
  app = { vault, workspace: { getActiveFile: () => null } };
  commands = [];
  addCommand = (command) => this.commands.push(command);
  addSettingTab() {}
  addStatusBarItem = () => ({ set textContent(status) { say("status", status); } });
  registerEvent() {}
  loadData = async () => ({ url, name: "desk" });
}
class Notice {
  constructor(message) {
    say("notice", message);
  }
}
const load = Module._load;
const api = { Plugin, Notice, PluginSettingTab: class {}, Setting: class {} };
Module._load = (name, ...rest) => (name === "obsidian" ? api : load(name, ...rest));
const built = new Module("main.js"); // Obsidian runs the text of the file, too
const source = new URL("../../hub/device/typescript/obsidian/main.js", import.meta.url);
built._compile(readFileSync(source, "utf8"), "main.js");
const HubPlugin = built.exports.default;
class Tested extends HubPlugin {
  openStore() {
    return new FileStore(store);
  }
}
mkdirSync(folder, { recursive: true });
const plugin = new Tested();
await plugin.onload();
createInterface({ input: process.stdin }).on("line", async (line) => {
  const [path, before, after] = JSON.parse(line);
  await vault.process(fileOf(path), (note) => note.replace(before, after));
  say("edited", path);
});
process.on("SIGTERM", () => plugin.device.close().then(() => process.exit(0)));
