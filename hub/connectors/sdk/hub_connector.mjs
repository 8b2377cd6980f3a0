// SDK for connectors in JavaScript: one file without dependencies, to lie next to the connector.
//
// Derive from Connector, define page and read, and end the program with run(YourConnector). The hub starts the
// program, and calls it over standard input and output. The program has no network: ask lets the hub send a
// request, with the secret that the program never sees. Standard error goes to the hub's log.

import { createInterface } from "node:readline";

const API = [1, 1]; // oldest and newest version of the lines
const source = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Failure by the action that it requires. code: sign_in, forbidden, bad_settings, wait (with seconds), quota,
// cursor_lost, unreadable, or unavailable, after which the hub tries again.
export class Failure extends Error {
  constructor(code, message, seconds = null) {
    super(message);
    Object.assign(this, { code, seconds });
  }
}

async function readLine() {
  const { value, done } = await source.next();
  return done ? null : JSON.parse(value);
}

function writeLine(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

// Connector to one account, created for each call; it keeps nothing between two of them.
export class Connector {
  static spec = {}; // name, version, auth, origins, methods and settings, as the protocol describes them

  constructor(settings) {
    this.settings = settings;
  }

  // Checks that the account works: { name, detail }.
  async check() {
    return { name: this.constructor.spec.name };
  }

  // Returns { messages, cursor, next }: the page of next, or the first one: what is new after cursor, or without
  // one since that time. Without next, it is the last one of this run.
  async page(cursor, since, next) {
    throw new Failure("unavailable", "page is not defined");
  }

  // Yields { key, text } or { key, html } or { key, unread } of each message, which has key, version and place.
  async *read(messages) {
    throw new Failure("unavailable", "read is not defined");
  }

  // Has the hub send a request: { method, query, headers, body, accept }. Requests go one after the other. The
  // hub adds the secret, waits as the server asks, and tries again. accept: statuses that are answers, in
  // addition to 200 to 299; any other one is a Failure. Returns { status, headers, body, json() }.
  async ask(url, { query = {}, body, ...rest } = {}) {
    const texts = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]));
    const sent = body === undefined ? {} : { body_base64: Buffer.from(body).toString("base64") };
    writeLine({ http: { url, query: texts, ...sent, ...rest } });
    const line = await readLine();
    if (line === null) process.exit();
    const { answer } = line;
    if (answer.error) throw new Failure(answer.error.code, answer.error.message, answer.error.seconds);
    const bytes = answer.body_base64 ? Buffer.from(answer.body_base64, "base64") : Buffer.from(answer.body);
    return { status: answer.status, headers: answer.headers, body: bytes, json: () => parsed(bytes) };
  }
}

function parsed(bytes) {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw new Failure("unavailable", "the server's answer is no JSON");
  }
}

async function resultOf(Kind, { id, method, params }) {
  if (method === "spec") return { ...Kind.spec, api: API };
  const connector = new Kind(params.settings);
  if (method === "check") return connector.check();
  if (method === "pages") return connector.page(params.cursor, params.since, params.next);
  for await (const item of connector.read(params.messages)) writeLine({ id, item });
  return {};
}

// Answers the hub's calls until it ends.
export async function run(Kind) {
  for (let call = await readLine(); call !== null; call = await readLine()) {
    try {
      writeLine({ id: call.id, result: await resultOf(Kind, call) });
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const { code, message, seconds } = error;
      writeLine({ id: call.id, error: { code, message, seconds } });
    }
  }
}
