// A device written from protocol/PROTOCOL.md alone: arguments are the address, the file of its token, the folder that
// it shares and the file of its rows. It connects when its input has a line, so that it can be started in advance.
// While there is a file ROWS.die with a number, it kills itself at the batch of calls of this number, once the next one
// is there, too: the rows of both are written by then, and some calls of the first answered.
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

const [url, tokenFile, folder, rowsFile] = process.argv.slice(2);
const BUSY_MS = 1000; // until it answers the first two batches: meanwhile calls of many files wait in the hub
const NEXT_BATCH_MS = 100; // for which it waits at most
const LAST_ANSWERS_MS = 15; // until its death, in which most of them leave it
const answers = new Map();
const deathFile = `${rowsFile}.die`;
let batches = 0; // since it is to die
let halfDone; // calls of the batch at which it dies
let timer;
let socket;
const say = (frame) => socket.send(JSON.stringify(frame));

function readRows() {
  if (!existsSync(rowsFile)) return;
  for (const line of readFileSync(rowsFile, "utf8").split("\n").filter(Boolean)) {
    const { id, row } = JSON.parse(line);
    answers.set(id, { id: row });
  }
}

function perform(calls) {
  const fresh = calls.filter((call) => !answers.has(call.id));
  let lines = "";
  for (const call of fresh) {
    const row = `row-${answers.size + 1}`;
    answers.set(call.id, { id: row });
    lines += `${JSON.stringify({ id: call.id, row, title: call.data?.title, action: call.action })}\n`;
  }
  if (lines) appendFileSync(rowsFile, lines);
}

function answer(calls) {
  const results = calls.map((call) => ({ type: "tool_result", id: call.id, result: answers.get(call.id) }));
  if (results.length) say({ type: "tool_results", results });
}

function die() {
  clearTimeout(timer);
  timer = undefined;
  answer(halfDone.filter(() => Math.random() < 0.5));
  setTimeout(() => process.kill(process.pid, "SIGKILL"), LAST_ANSWERS_MS);
}

function receiveCalls(calls) {
  if (existsSync(deathFile)) batches += 1;
  perform(calls);
  if (halfDone) {
    if (timer) die();
    return;
  }
  if (!batches || batches < Number(readFileSync(deathFile, "utf8"))) {
    setTimeout(() => answer(calls), batches && batches <= 2 ? BUSY_MS : 0);
    return;
  }
  rmSync(deathFile);
  halfDone = calls;
  timer = setTimeout(die, NEXT_BATCH_MS);
}

function sendFiles({ run_id, fence }) {
  const names = readdirSync(folder).sort();
  for (const name of names) {
    const content = readFileSync(join(folder, name), "utf8");
    say({ type: "agent_data", run_id, fence, files: [{ path: `notes/${name}`, content }] });
  }
  say({ type: "agent_complete", run_id, fence, files: names.length });
}

function receive({ data }) {
  const frame = JSON.parse(data);
  if (frame.type === "challenge") {
    const token = readFileSync(tokenFile, "utf8").trim();
    say({ type: "device_hello", token, capabilities: [{ name: "tool_calls", version: "1.0.0" }] });
  } else if (frame.type === "welcome") {
    console.log("welcome");
  } else if (frame.type === "agent_run") {
    sendFiles(frame);
  } else if (frame.type === "tool_calls") {
    receiveCalls(frame.calls);
  } else if (frame.type === "tool_call") {
    receiveCalls([frame]);
  } else if (frame.type === "error" || frame.type === "goodbye") {
    console.error(data);
  }
}

process.stdin.once("data", () => {
  readRows();
  socket = new WebSocket(url, ["hub.v1.json"]);
  socket.addEventListener("message", receive);
  socket.addEventListener("close", ({ code, reason }) => {
    console.error(`closed: ${code} ${reason}`);
    process.exit(1);
  });
  socket.addEventListener("error", ({ message }) => console.error(message));
});
