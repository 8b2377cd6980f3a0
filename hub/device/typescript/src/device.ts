// A device: one object that keeps a connection to a hub, does its calls and knows its owner's decisions.
import { Connection, HubError, type End, type Guest, type Socket, type SocketClass } from "./connection.js";
import { Run, answerFiles, type Digests, type Files } from "./files.js";
import { DeviceKey, HubNotTrusted, checkProof, keyId, signedText } from "./keys.js";
import {
  CLOSE_MEANINGS,
  MAX_RESULT_BYTES,
  VERSION,
  type AgentRun,
  type Challenge,
  type DeviceHello,
  type FromHub,
  type ItemSource,
  type ToolCall,
  type Welcome,
} from "./protocol.js";
import { Records, refusal, type Answer, type Kept, type Verdict } from "./records.js";
import { PAIRING, REPLACED, RESTARTING, Route, addressOf, dialled, isInClear, waitAfter } from "./route.js";
import type { Store } from "./store.js";
import { Refusal, bytesOf, type Row } from "./tables.js";

const STEADY_MS = 30_000; // a connection of this length makes the next try the first one
const TURN_MS = 500; // before the next address of the hub is tried
const LATE_MS = 600_000; // in which a frozen hub may answer an older hello
const REPORT_AGAIN_MS = 60_000;
const MAX_VERDICTS = 500; // of one report
const MAX_RUNS = 4;
const MAX_FENCES = 4_096;
const OF_ROWS = [
  "tool.insert",
  "tool.update",
  "tool.delete",
  "tool.query",
  "rows.list",
  "rows.known",
  "table.declare",
  "tool_calls",
  "hubs",
];
const OF_GRANTED_FILES = ["files.list", "files.read"];
const OF_FILES = ["agent_data.credit", "agent_manifest", "agent_manifest.pages", "agent_run.only", "agent_ack"];

/** Calls that a program may take, by their name in PROTOCOL.md. */
export type ToolName = "message.deliver" | "user.ask" | "agent.wake" | "browser.open" | "file.get" | "file.put";
/**
 * Does a call and returns its result, which is stored and answered if the call comes again. After a crash in between
 * it is called again. Throw `Refusal` to refuse the call for good.
 */
export type Tool = (call: ToolCall) => unknown;

export interface DeviceOptions {
  /** Address of the hub, `wss://hub.example`, or several of one hub. */
  readonly url: string | readonly string[];
  /** Name that the device asks for when it is paired. */
  readonly name: string;
  readonly store: Store;
  /** What is shared; without it no file is read. */
  readonly files?: Files;
  /** Names of the roots whose files the hub may let programs read, as assistants: the owner grants them. */
  readonly fileGrants?: readonly string[];
  /** Shown in place of a key. Keep it where only its owner can read it. */
  readonly token?: string;
  /** Lets the device in without a code, once. */
  readonly invitation?: string;
  /** Id of the key of another hub that takes the place of the one that the store knows. */
  readonly acceptHub?: string;
  readonly tools?: Readonly<Partial<Record<ToolName, Tool>>>;
  /** Name and version of the program, for people. */
  readonly client?: { readonly name: string; readonly version: string };
  /** WebSocket of a package, where the platform has none: before Node 22. */
  readonly WebSocket?: new (url: string, protocols: string[]) => object;
}

/** A row, and what its owner has to decide. */
export interface Item {
  readonly id: string;
  readonly table: string;
  readonly row: Row;
  readonly state: Verdict | "open";
  /** Change that the hub proposes; "delete": it would delete the row. */
  readonly proposal: Row | "delete" | null;
  /** Where the row, or its proposed change, was found. Show its `provenance` and `warnings`. */
  readonly source: ItemSource | null;
}

export interface DeviceEvents {
  connected: { readonly address: string };
  /** The connection ended; the next try begins after `waitMs`. */
  disconnected: { readonly reason: string; readonly waitMs: number };
  /** Show both: the code is typed at the hub, `hub pair approve CODE`; the key's id is compared. */
  pairing: { readonly code: string; readonly keyId: string };
  /** A hub wrote a row, or proposes to change it. */
  suggestion: Item;
  /** A hub took a suggestion back. */
  withdrawn: { readonly id: string };
  run: { readonly id: string; readonly agentId: string; readonly state: "started" | "ended" };
  event: { readonly event: string; readonly data: unknown };
  /** A program of the hub asks for a file of `fileGrants`: log it. */
  read: { readonly path: string; readonly by: string };
  warning: { readonly message: string };
  /** The device stays away until its owner does something, or `close` was called. */
  closed: { readonly code: number | null; readonly meaning: string; readonly reason: string };
}
type Listener<T> = (event: T) => void;

/** The hub refused the device for good; `code` is the close code. */
export class TurnedAway extends Error {
  constructor(
    readonly code: number | null,
    message: string,
  ) {
    super(message);
  }
}

export class Device {
  readonly #options: DeviceOptions;
  readonly #route: Route;
  readonly #socketClass: SocketClass;
  readonly #listeners = new Map<keyof DeviceEvents, Set<Listener<never>>>();
  readonly #digests: Digests = new Map();
  readonly #fences = new Map<string, number>();
  readonly #runs = new Map<string, Run>();
  readonly #tools = new Map<string, Promise<Answer>>(); // in progress, by the id of the call
  readonly #instance = crypto.randomUUID();
  #records: Promise<Records> | null = null;
  #opened: Records | null = null;
  #connection: Connection | null = null;
  #connected: Promise<void> | null = null;
  #waiting: (readonly ToolCall[])[] = [];
  #isWorking = false;
  #isReporting = false;
  #isClosed = false;
  #stop: () => void = () => undefined;
  #code = "";
  #runLimits: Welcome["limits"];
  #reportTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: DeviceOptions) {
    this.#options = options;
    const urls = typeof options.url === "string" ? [options.url] : options.url;
    this.#route = new Route(urls.map(addressOf), Math.random);
    const found = options.WebSocket ?? (globalThis as { WebSocket?: unknown }).WebSocket;
    if (typeof found !== "function")
      throw new TypeError("there is no WebSocket here: Node 22 has it, or give options.WebSocket");
    this.#socketClass = found as new (url: string, protocols: string[]) => Socket;
  }

  /** Call `listener` at each event; returns a function that ends it. */
  on<K extends keyof DeviceEvents>(name: K, listener: Listener<DeviceEvents[K]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  #emit<K extends keyof DeviceEvents>(name: K, event: DeviceEvents[K]): void {
    for (const listener of (this.#listeners.get(name) ?? []) as Iterable<Listener<DeviceEvents[K]>>) {
      try {
        listener(event);
      } catch (error) {
        console.error(`a listener of ${name} failed`, error);
      }
    }
  }

  /** Load the store: rows can be shown before there is a connection. `connect` does it, too. */
  async open(): Promise<void> {
    this.#records ??= Records.open(this.#options.store);
    this.#opened = await this.#records;
  }

  /** Connect, and reconnect until `close`. Fulfilled by the first welcome, or by `close`; rejected if the hub refuses for good. */
  connect(): Promise<void> {
    this.#connected ??= new Promise((resolve, reject) => {
      this.#serve(resolve).catch((error: unknown) => {
        const code = error instanceof TurnedAway ? error.code : null;
        const reason = error instanceof Error ? error.message : String(error);
        this.#emit("closed", { code, meaning: CLOSE_MEANINGS[code ?? 0] ?? "", reason });
        reject(error);
      });
    });
    return this.#connected;
  }

  /** End the connection, and close the store once everything is written. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#reportTimer);
    this.#stop();
    this.#connection?.close();
    await Promise.allSettled(this.#tools.values());
    await (await this.#records)?.close();
    this.#emit("closed", { code: 1000, meaning: CLOSE_MEANINGS[1000] ?? "", reason: "closed by the program" });
  }

  // Rows and decisions of the owner

  get #rows(): Records {
    if (this.#opened === null) throw new Error("the store is not loaded yet: await device.open()");
    return this.#opened;
  }

  /** Rows of a table that exist, or of all tables: those of hubs and the owner's own. */
  items(table?: string): Item[] {
    const kept = [...this.#rows.kept()].filter(
      (one) => one.row !== null && (table === undefined || one.table === table),
    );
    return kept.map((one) => this.#item(one));
  }

  /** Rows that the owner has to decide about, with those that hubs propose to change. */
  suggestions(): Item[] {
    return this.items().filter((item) => item.proposal !== null || item.state === "open");
  }

  #item(kept: Kept): Item {
    const proposal = kept.proposal?.rejected === false ? kept.proposal : null;
    const { id, table } = kept;
    return {
      ...{ id, table, row: kept.row ?? {}, state: kept.own ? "approved" : this.#rows.state(kept) },
      proposal: proposal === null ? null : (proposal.data ?? "delete"),
      source: (proposal ?? kept).by.source,
    };
  }

  /** Approve a row, or accept its proposed change; `fields` are filled in first. */
  approve(id: string, fields: Row = {}): Promise<void> {
    return this.#decide((rows) => rows.approve(id, fields));
  }

  /** Change fields of a row; hubs do not change it any more, and propose instead. */
  edit(id: string, fields: Row): Promise<void> {
    return this.#decide((rows) => rows.edit(id, fields));
  }

  /** Remove a suggestion, or reject the proposed change of a row, which stays as it is. */
  reject(id: string): Promise<void> {
    return this.#decide((rows) => rows.reject(id));
  }

  /** Delete a row, whatever is proposed for it. */
  remove(id: string): Promise<void> {
    return this.#decide((rows) => rows.remove(id));
  }

  /** Write a row of the owner's own, as a project that suggestions may belong to; returns its id. */
  add(table: string, fields: Row): Promise<string> {
    return this.#decide((rows) => rows.add(table, fields));
  }

  async #decide<T>(work: (rows: Records) => T): Promise<T> {
    await this.open();
    const rows = this.#rows;
    const result = await rows.change(() => work(rows));
    void this.#report();
    return result;
  }

  /** Ask the hub for something, as `runs.start`; rejects with `HubError`. */
  async request(method: string, params: { readonly [name: string]: unknown } = {}): Promise<unknown> {
    if (this.#connection === null) throw new HubError("device_offline", "there is no connection to the hub");
    return this.#connection.request(method, params);
  }

  /** Forget the key for this hub, as after it was revoked: the next device object of this store is paired anew. */
  async forgetKey(): Promise<void> {
    await this.#decide((rows) => rows.put(`key/${rows.get<string>("hub") ?? ""}`, null));
  }

  // Connection

  async #serve(welcomed: () => void): Promise<void> {
    await this.open();
    const known = this.#rows.get<{ named: string[]; last: string }>("addresses");
    if (known !== undefined) {
      this.#route.learn(known.named);
      this.#route.beginAt(known.last);
    }
    if (isInClear(this.#route.current)) {
      this.#emit("warning", { message: "the line to this hub is not encrypted; wss:// is" });
    }
    let awaySince = Date.now();
    let unansweredUntil = 0; // a hello that is answered late replaces the connection made after it
    while (!this.#isClosed) {
      const began = Date.now();
      const guest: Guest = {
        hello: (...args) => this.#hello(...args),
        frame: (...args) => this.#frame(...args),
        warned: (message) => this.#emit("warning", { message }),
        welcomed: (welcome, connection) => {
          this.#welcomed(welcome, connection);
          welcomed();
        },
      };
      const connection = new Connection(this.#socketClass, this.#route.current, guest);
      this.#stop = () => connection.close();
      const end = await connection.ended;
      this.#connection = null;
      for (const run of this.#runs.values()) run.abandon();
      this.#runs.clear();
      this.#waiting = [];
      if (this.#isClosed) break;
      if (end.isDistrusted) {
        if (!this.#route.leaveOut()) throw new TurnedAway(null, end.reason);
        this.#emit("warning", { message: `${end.reason}; this address is not tried again` });
      }
      if (end.isUnanswered) unansweredUntil = Date.now() + LATE_MS;
      else if (end.code === REPLACED && Date.now() < unansweredUntil) end.code = RESTARTING;
      const isNoFailedTry = end.code === RESTARTING || end.code === PAIRING;
      if (isNoFailedTry || (end.wasWelcome && Date.now() - began >= STEADY_MS)) awaySince = Date.now();
      const waitMs = this.#waitAfter(end, Date.now() - awaySince);
      if (end.code === PAIRING) await this.#showCode(end.pairingCode ?? "");
      else this.#emit("disconnected", { reason: farewell(end), waitMs: Math.round(waitMs) });
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#stop = () => (clearTimeout(timer), resolve());
      });
    }
    welcomed(); // closed before it was: nothing waits for it any more
  }

  #waitAfter(end: End, awayMs: number): number {
    const draw = Math.random();
    const waitMs = waitAfter(end.code, awayMs, draw, end.retryAfterMs);
    if (waitMs === null) throw new TurnedAway(end.code, farewell(end));
    if (end.to !== undefined && this.#route.turnTo(end.to)) {
      return Math.max(Math.min(end.retryAfterMs ?? 0, 86_400_000), TURN_MS * draw);
    }
    return end.code !== PAIRING && this.#route.turn() ? TURN_MS * draw : waitMs;
  }

  async #showCode(code: string): Promise<void> {
    if (code === "" || code === this.#code) return;
    this.#code = code;
    const key = await this.#key(this.#rows.get<string>("hub") ?? "");
    this.#emit("pairing", { code, keyId: await keyId(key.publicKey) });
  }

  async #key(hub: string): Promise<DeviceKey> {
    const rows = this.#rows;
    const stored = rows.get<string>(`key/${hub}`);
    if (stored !== undefined) return DeviceKey.read(stored);
    const made = await DeviceKey.make();
    await rows.change(() => rows.put(`key/${hub}`, made.stored)); // before it is shown: a kill may come after
    return made.key;
  }

  async #hello(challenge: Challenge, address: string, nonce: string): Promise<DeviceHello> {
    const rows = this.#rows;
    const { token, invitation, name, client, files, fileGrants = [], tools = {} } = this.#options;
    const isGranted = files !== undefined && fileGrants.length > 0;
    const hub = await checkProof(challenge, address, nonce);
    const known = rows.get<string>("hub");
    if (known !== hub) {
      const id = await keyId(hub);
      if (known !== undefined && id !== this.#options.acceptHub?.toUpperCase()) {
        throw new HubNotTrusted(
          `${address} has another key than before, ${id}; if that is meant, give it as acceptHub`,
        );
      }
      await rows.change(() => rows.put("hub", hub));
    }
    const names = [...OF_ROWS, ...(files ? OF_FILES : []), ...(isGranted ? OF_GRANTED_FILES : []), ...Object.keys(tools)];
    const roots = ((await files?.roots()) ?? []).map((root) => root.spellings[0] ?? root.name);
    const hello: DeviceHello = {
      type: "device_hello",
      device_id: name,
      protocol: { min: 1, max: 1 },
      client: { name: client?.name ?? "device-hub", version: client?.version ?? VERSION, instance: this.#instance },
      capabilities: names.map((one) => ({ name: one })),
      store: rows.mark,
      roots: roots.length <= 64 ? roots : [],
      ...(isGranted ? { grants: [{ name: "files.read", tables: fileGrants.slice(0, 16) }] } : {}),
    };
    if (token !== undefined) return { ...hello, token };
    const key = await this.#key(hub);
    const at = Date.now();
    const identity = { public_key: key.publicKey, signed_at_ms: at, address };
    const signature = await key.sign(signedText(challenge, hello, at, address));
    return { ...hello, identity: { ...identity, signature }, ...(invitation ? { invitation } : {}) };
  }

  #welcomed(welcome: Welcome, connection: Connection): void {
    const rows = this.#rows;
    this.#connection = connection;
    this.#code = "";
    this.#runLimits = welcome.limits;
    this.#learn(welcome.hubs ?? []);
    rows.change(() => rows.noteWelcome(welcome)).catch((error: unknown) => this.#failed(error));
    this.#emit("connected", { address: dialled(this.#route.current) });
    void this.#report();
  }

  #learn(named: readonly string[]): void {
    const rows = this.#rows;
    this.#route.learn(named);
    const addresses = { named, last: this.#route.current };
    if (JSON.stringify(rows.get("addresses")) === JSON.stringify(addresses)) return;
    rows.change(() => rows.put("addresses", addresses)).catch((error: unknown) => this.#failed(error));
  }

  /** The store cannot write: nothing is answered, and the hub sends again what was not answered. */
  #failed(error: unknown): void {
    this.#emit("warning", { message: `the store failed: ${String(error)}` });
    this.#connection?.close();
  }

  #frame(frame: FromHub, connection: Connection): void {
    switch (frame.type) {
      case "tool_call":
        return this.#takeCalls([frame], connection);
      case "tool_calls":
        return this.#takeCalls(
          frame.calls.map((call) => ({ ...call, type: "tool_call" })),
          connection,
        );
      case "agent_run":
        return this.#begin(frame, connection);
      case "agent_fetch":
      case "agent_credit":
      case "agent_cancel": {
        const run = this.#runs.get(frame.run_id);
        if (run !== undefined && (frame.fence ?? run.frame.fence) === run.frame.fence) run.take(frame);
        return;
      }
      case "hubs":
        return this.#learn(frame.hubs);
      case "event":
        return this.#emit("event", { event: frame.event, data: frame.data });
      default: {
        const { type } = frame as { type: string };
        connection.send({
          type: "error",
          code: "unknown_type",
          message: `there is no frame of type ${type}`,
          ref: type,
        });
      }
    }
  }

  // Calls

  #takeCalls(calls: readonly ToolCall[], connection: Connection): void {
    const tools: Readonly<Record<string, Tool | undefined>> = this.#options.tools ?? {};
    const [call] = calls;
    const { files, fileGrants = [] } = this.#options;
    if (files !== undefined && call !== undefined && OF_GRANTED_FILES.includes(call.action)) {
      if (call.action === "files.read") this.#emit("read", { path: String(call.data?.["path"]), by: String(call.data?.["reader"] ?? "") });
      void answerFiles(call, files, fileGrants).then((answer) => this.#answer([call], [answer], connection));
      return;
    }
    const tool = call === undefined ? undefined : tools[call.action];
    if (call !== undefined && tool !== undefined) {
      this.#useTool(call, tool).then(
        (answer) => this.#answer([call], [answer], connection),
        (error) => this.#failed(error),
      );
      return;
    }
    this.#waiting.push(calls);
    if (!this.#isWorking) void this.#work(connection);
  }

  /** Do the calls that wait, all in one transaction, and answer them once they are written. */
  async #work(connection: Connection): Promise<void> {
    const rows = this.#rows;
    this.#isWorking = true;
    try {
      while (this.#waiting.length > 0) {
        const batches = this.#waiting.splice(0);
        const changed = new Set<string>();
        const answers = await rows.change(() => {
          const done = batches.map((calls) => calls.map((call) => rows.apply(call)));
          for (const key of rows.changed()) if (key.startsWith("row/")) changed.add(key.slice("row/".length));
          return done;
        });
        for (const [at, calls] of batches.entries())
          this.#answer(calls, answers[at] ?? [], this.#connection ?? connection);
        for (const id of changed) {
          const kept = rows.row(id);
          if (kept === undefined) this.#emit("withdrawn", { id });
          else if (kept.proposal?.rejected !== true) this.#emit("suggestion", this.#item(kept));
        }
      }
    } catch (error) {
      this.#waiting = [];
      this.#failed(error);
    } finally {
      this.#isWorking = false;
    }
  }

  #useTool(call: ToolCall, tool: Tool): Promise<Answer> {
    const rows = this.#rows;
    const known = rows.answered(call);
    if (known !== undefined) return Promise.resolve(known);
    const going = this.#tools.get(call.id);
    if (going !== undefined) return going;
    const use = async (): Promise<Answer> => {
      let answer: Answer;
      try {
        answer = { result: (await tool(call)) ?? {} };
      } catch (error) {
        if (!(error instanceof Refusal)) return refusal("device_error", String(error)); // may do the next time
        answer = refusal(error.code, error.message);
      }
      await rows.change(() => rows.settle(call, answer));
      return answer;
    };
    const done = use().finally(() => this.#tools.delete(call.id));
    this.#tools.set(call.id, done);
    return done;
  }

  #answer(calls: readonly ToolCall[], answers: readonly Answer[], connection: Connection): void {
    const results = calls.map((call, at) => {
      const trace = call.trace ? { trace: call.trace } : {};
      const answer = answers[at] ?? refusal("internal", "there is no answer");
      const result = { type: "tool_result" as const, id: call.id, ...trace, ...answer };
      return bytesOf(answer) <= MAX_RESULT_BYTES
        ? result
        : { ...result, result: null, error: refusal("result_too_large", "the answer is too large").error };
    });
    let batch: typeof results = [];
    const flush = (): void => {
      const [only] = batch;
      if (batch.length > 1)
        connection.send({ type: "tool_results", results: batch } as Parameters<Connection["send"]>[0]);
      else if (only !== undefined) connection.send(only as Parameters<Connection["send"]>[0]);
      batch = [];
    };
    for (const result of results) {
      if (bytesOf([...batch, result]) > MAX_RESULT_BYTES - 1024) flush();
      batch.push(result);
    }
    flush();
  }

  /** Tell the hub the verdicts that it has not confirmed; again until it has. */
  async #report(): Promise<void> {
    const connection = this.#connection;
    if (this.#isReporting || connection === null) return;
    this.#isReporting = true;
    clearTimeout(this.#reportTimer);
    const rows = this.#rows;
    try {
      const unreported = () => rows.change(() => rows.unreported(MAX_VERDICTS));
      for (let report = await unreported(); report.length > 0; report = await unreported()) {
        await connection.request("review.report", { verdicts: report }).catch((error: unknown) => {
          const isOlder = error instanceof HubError && error.code === "bad_params" && report[0]?.verdict === "open";
          if (!isOlder) throw error; // an older hub learns by the counter of the row
        });
        await rows.change(() => rows.noteReported(report));
      }
    } catch (error) {
      const againMs = (error instanceof HubError ? error.retryAfterMs : undefined) ?? REPORT_AGAIN_MS;
      if (this.#connection === connection) this.#reportTimer = setTimeout(() => void this.#report(), againMs);
    } finally {
      this.#isReporting = false;
    }
    if (this.#connection !== connection) void this.#report();
  }

  // Runs

  #begin(frame: AgentRun, connection: Connection): void {
    const { run_id: id, fence } = frame;
    const before = this.#runs.get(id);
    if (fence < (this.#fences.get(id) ?? -1) || before?.frame.fence === fence) return;
    this.#fences.delete(id);
    this.#fences.set(id, fence);
    const [oldest] = this.#fences.keys();
    if (this.#fences.size > MAX_FENCES && oldest !== undefined) this.#fences.delete(oldest);
    before?.abandon();
    const { files } = this.#options;
    const isBusy = before === undefined && this.#runs.size >= MAX_RUNS;
    if (files === undefined || isBusy) {
      const code = isBusy ? "busy" : "nothing_shared";
      const message = isBusy ? `${MAX_RUNS} runs are open` : "this device shares no files";
      connection.send({ type: "agent_ack", run_id: id, fence, accepted: false, reason: code });
      connection.send({ type: "agent_complete", run_id: id, fence, error: { code, message } });
      return;
    }
    const run = new Run(frame, files, this.#digests, this.#runLimits, (said) => connection.send(said));
    this.#runs.set(id, run);
    this.#emit("run", { id, agentId: frame.agent_id, state: "started" });
    void run.serve().finally(() => {
      if (this.#runs.get(id) === run) this.#runs.delete(id);
      this.#emit("run", { id, agentId: frame.agent_id, state: "ended" });
    });
  }
}

function farewell(end: End): string {
  const meaning = end.code === null ? "" : (CLOSE_MEANINGS[end.code] ?? "");
  return (
    [end.reason, meaning].filter((one, at, all) => one !== "" && all.indexOf(one) === at).join(": ") ||
    "the connection broke"
  );
}
