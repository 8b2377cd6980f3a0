// Does calls and decisions of a script on the rows of the package, and prints what came of each. A text "@c-1" is the
// id of the row that call c-1 inserted, in both directions.
import { readFileSync } from "node:fs";
import { Records } from "../../hub/device/typescript/dist/records.js";
import { MemoryStore } from "../../hub/device/typescript/dist/store.js";

const records = await Records.open(new MemoryStore());
const ids = new Map();
const replaced = (value, by) => JSON.parse(JSON.stringify(value), (_, one) => by.get(one) ?? one);
const results = [];
for (const step of JSON.parse(readFileSync(0, "utf8"))) {
  const [what, ...args] = replaced(step, ids);
  const done = await records.change(() => {
    try {
      if (what === "apply") return records.apply(args[0]);
      if (what === "unreported") return records.unreported(1000);
      records[what](...args);
      return true;
    } catch {
      return false;
    }
  });
  if (what === "apply" && args[0].action === "insert" && done.result) ids.set(`@${args[0].id}`, done.result.id);
  results.push(replaced(done, new Map([...ids].map(([label, id]) => [id, label]))));
}
console.log(JSON.stringify(results));
