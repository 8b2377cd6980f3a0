// Prints the digests of the examples of protocol/digests.json.
import { readFileSync } from "node:fs";
import { digestOf, rowDigest } from "../../hub/device/typescript/dist/index.js";
import { TABLES } from "../../hub/device/typescript/dist/protocol.js";

const { tables, rows, values } = JSON.parse(readFileSync(0, "utf8"));
const tableOf = (name) => [...TABLES, ...tables].find((table) => table.name === name);
console.log(
  JSON.stringify({
    rows: await Promise.all(rows.map(({ table, row }) => rowDigest(tableOf(table), row))),
    values: await Promise.all(values.map(({ value }) => digestOf(value))),
  }),
);
