// Writes to the store of the package, damages its file as crashes do, and prints what it reads then.
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { FileStore } from "../../hub/device/typescript/dist/node.js";

const path = `${JSON.parse(readFileSync(0, "utf8"))}/state/desk.jsonl`;
const result = {};
const refused = (error) => error.message.replace(/\d+|\S*\/\S*/g, "").replace(/\s+/g, " ").trim();

async function reads() {
  const store = new FileStore(path);
  const entries = [...(await store.load())];
  await store.close();
  return entries.sort();
}

const store = new FileStore(path);
await store.load();
await store.write(new Map(Object.entries({ a: 1, b: 1 })));
await store.write(new Map(Object.entries({ a: 2, b: null, c: "ä" })));
const started = readFileSync("/proc/1/stat", "utf8").split(") ")[1].split(" ")[19];
writeFileSync(`${path}.lock`, `1 ${started}\n`); // a process that runs
result["in use"] = await reads().catch((error) => refused(error).split(", or")[0]);
writeFileSync(`${path}.lock`, "1 1\n"); // one that was killed; another one has its number now
result["after a restart"] = await reads();
appendFileSync(path, '[["a",');
result["after half a line"] = await reads();
appendFileSync(path, `${"\0".repeat(20)}\n`);
result["after a line of zeros"] = await reads();
result["mode"] = (statSync(path).mode & 0o777).toString(8);
const large = new FileStore(path);
await large.load();
for (let number = 0; number < 60; number += 1) await large.write(new Map([["a", "x".repeat(100_000)]]));
await large.close();
result["rewritten"] = statSync(path).size < 2_000_000 && (await reads())[0][1].length === 100_000;
writeFileSync(path, readFileSync(path, "utf8").replace("[[", "{") + "[]\n");
result["damaged"] = await reads().catch((error) => refused(error).split(":")[0].trim());
console.log(JSON.stringify(result));
process.exit(0);
