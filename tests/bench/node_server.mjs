// The baseline "node ws": the library alone, JSON and a map of promises. Orders as in driver.py.
//   node node_server.mjs CONFIG FOLDER_OF_WS
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { devices } = JSON.parse(process.argv[2]);
const { WebSocketServer } = createRequire(import.meta.url)(process.argv[3]);
const DATA = {
  title: "Send the revised quote to the studio",
  description: "Two variants, with and without hosting, each with its taxes and the new dates of phase 2",
  status: "todo", priority: "high", assignee: ["anna"], dueDate: 1766000000000, projectId: "7f0a9b1c",
};
const WARM_MS = 300;
const peers = [];
const pending = new Map();
let number = 0;

const say = (told) => process.stdout.write(JSON.stringify(told) + "\n");

function call(socket, agent_id) {
  const id = "c-" + (number++).toString(16).padStart(32, "0");
  const answered = new Promise((done) => pending.set(id, done));
  socket.send(JSON.stringify({ type: "tool_call", id, action: "insert", table: "tasks", data: DATA,
    run_id: "bench-run", agent_id }));
  return answered;
}

async function keepCalling(sockets, inFlight, ms, agent_id) {
  let calls = 0;
  const end = performance.now() + ms;
  const work = async (socket) => {
    while (performance.now() < end) {
      await call(socket, agent_id);
      calls++;
    }
  };
  await Promise.all(sockets.flatMap((socket) => Array.from({ length: inFlight }, () => work(socket))));
  return calls;
}

async function calls({ peers: count, in_flight = 1, seconds, agent_id = "a-1" }) {
  const sockets = peers.slice(0, count);
  await keepCalling(sockets, in_flight, WARM_MS, agent_id);
  const before = process.cpuUsage(), began = performance.now();
  const made = await keepCalling(sockets, in_flight, seconds * 1000, agent_id);
  const { user, system } = process.cpuUsage(before);
  say({ rate: made / (performance.now() - began) * 1000, cpu_us: (user + system) / made, p99_ms: 0 });
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("listening", () => say({ port: server.address().port, loop: "libuv" }));
server.on("connection", (socket) => {
  let isGreeted = false;
  socket.on("message", (data) => {
    if (!isGreeted) {
      isGreeted = true;
      socket.send('{"type":"welcome"}');
      peers.push(socket);
      return;
    }
    const frame = JSON.parse(data);
    const done = pending.get(frame.id);
    pending.delete(frame.id);
    done(frame.result);
  });
});
createInterface({ input: process.stdin }).on("line", (line) => {
  if (peers.length !== devices) throw new Error(`${peers.length} of ${devices} devices`);
  calls(JSON.parse(line));
}).on("close", () => process.exit(0));
