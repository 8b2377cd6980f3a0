// A device: one object that keeps a connection to a hub, does its calls and knows its owner's decisions.
import { Connection, HubError } from "./connection.js";
import { Run, answerFiles } from "./files.js";
import { DeviceKey, HubNotTrusted, checkProof, keyId, signedText } from "./keys.js";
import { CLOSE_MEANINGS, MAX_RESULT_BYTES, VERSION, } from "./protocol.js";
import { Records, refusal } from "./records.js";
import { PAIRING, REPLACED, RESTARTING, Route, addressOf, dialled, isInClear, waitAfter } from "./route.js";
import { Refusal, bytesOf } from "./tables.js";
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
/** The hub refused the device for good; `code` is the close code. */
export class TurnedAway extends Error {
    code;
    constructor(code, message) {
        super(message);
        this.code = code;
    }
}
export class Device {
    #options;
    #route;
    #socketClass;
    #listeners = new Map();
    #digests = new Map();
    #fences = new Map();
    #runs = new Map();
    #tools = new Map(); // in progress, by the id of the call
    #instance = crypto.randomUUID();
    #records = null;
    #opened = null;
    #connection = null;
    #connected = null;
    #waiting = [];
    #isWorking = false;
    #isReporting = false;
    #isClosed = false;
    #stop = () => undefined;
    #code = "";
    #runLimits;
    #reportTimer;
    constructor(options) {
        this.#options = options;
        const urls = typeof options.url === "string" ? [options.url] : options.url;
        this.#route = new Route(urls.map(addressOf), Math.random);
        const found = options.WebSocket ?? globalThis.WebSocket;
        if (typeof found !== "function")
            throw new TypeError("there is no WebSocket here: Node 22 has it, or give options.WebSocket");
        this.#socketClass = found;
    }
    /** Call `listener` at each event; returns a function that ends it. */
    on(name, listener) {
        const listeners = this.#listeners.get(name) ?? new Set();
        this.#listeners.set(name, listeners.add(listener));
        return () => listeners.delete(listener);
    }
    #emit(name, event) {
        for (const listener of (this.#listeners.get(name) ?? [])) {
            try {
                listener(event);
            }
            catch (error) {
                console.error(`a listener of ${name} failed`, error);
            }
        }
    }
    /** Load the store: rows can be shown before there is a connection. `connect` does it, too. */
    async open() {
        this.#records ??= Records.open(this.#options.store);
        this.#opened = await this.#records;
    }
    /** Connect, and reconnect until `close`. Fulfilled by the first welcome, or by `close`; rejected if the hub refuses for good. */
    connect() {
        this.#connected ??= new Promise((resolve, reject) => {
            this.#serve(resolve).catch((error) => {
                const code = error instanceof TurnedAway ? error.code : null;
                const reason = error instanceof Error ? error.message : String(error);
                this.#emit("closed", { code, meaning: CLOSE_MEANINGS[code ?? 0] ?? "", reason });
                reject(error);
            });
        });
        return this.#connected;
    }
    /** End the connection, and close the store once everything is written. */
    async close() {
        if (this.#isClosed)
            return;
        this.#isClosed = true;
        clearTimeout(this.#reportTimer);
        this.#stop();
        this.#connection?.close();
        await Promise.allSettled(this.#tools.values());
        await (await this.#records)?.close();
        this.#emit("closed", { code: 1000, meaning: CLOSE_MEANINGS[1000] ?? "", reason: "closed by the program" });
    }
    // Rows and decisions of the owner
    get #rows() {
        if (this.#opened === null)
            throw new Error("the store is not loaded yet: await device.open()");
        return this.#opened;
    }
    /** Rows of a table that exist, or of all tables: those of hubs and the owner's own. */
    items(table) {
        const kept = [...this.#rows.kept()].filter((one) => one.row !== null && (table === undefined || one.table === table));
        return kept.map((one) => this.#item(one));
    }
    /** Rows that the owner has to decide about, with those that hubs propose to change. */
    suggestions() {
        return this.items().filter((item) => item.proposal !== null || item.state === "open");
    }
    #item(kept) {
        const proposal = kept.proposal?.rejected === false ? kept.proposal : null;
        const { id, table } = kept;
        return {
            ...{ id, table, row: kept.row ?? {}, state: kept.own ? "approved" : this.#rows.state(kept) },
            proposal: proposal === null ? null : (proposal.data ?? "delete"),
            source: (proposal ?? kept).by.source,
        };
    }
    /** Approve a row, or accept its proposed change; `fields` are filled in first. */
    approve(id, fields = {}) {
        return this.#decide((rows) => rows.approve(id, fields));
    }
    /** Change fields of a row; hubs do not change it any more, and propose instead. */
    edit(id, fields) {
        return this.#decide((rows) => rows.edit(id, fields));
    }
    /** Remove a suggestion, or reject the proposed change of a row, which stays as it is. */
    reject(id) {
        return this.#decide((rows) => rows.reject(id));
    }
    /** Delete a row, whatever is proposed for it. */
    remove(id) {
        return this.#decide((rows) => rows.remove(id));
    }
    /** Write a row of the owner's own, as a project that suggestions may belong to; returns its id. */
    add(table, fields) {
        return this.#decide((rows) => rows.add(table, fields));
    }
    async #decide(work) {
        await this.open();
        const rows = this.#rows;
        const result = await rows.change(() => work(rows));
        void this.#report();
        return result;
    }
    /** Ask the hub for something, as `runs.start`; rejects with `HubError`. */
    async request(method, params = {}) {
        if (this.#connection === null)
            throw new HubError("device_offline", "there is no connection to the hub");
        return this.#connection.request(method, params);
    }
    /** Forget the key for this hub, as after it was revoked: the next device object of this store is paired anew. */
    async forgetKey() {
        await this.#decide((rows) => rows.put(`key/${rows.get("hub") ?? ""}`, null));
    }
    // Connection
    async #serve(welcomed) {
        await this.open();
        const known = this.#rows.get("addresses");
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
            const guest = {
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
            for (const run of this.#runs.values())
                run.abandon();
            this.#runs.clear();
            this.#waiting = [];
            if (this.#isClosed)
                break;
            if (end.isDistrusted) {
                if (!this.#route.leaveOut())
                    throw new TurnedAway(null, end.reason);
                this.#emit("warning", { message: `${end.reason}; this address is not tried again` });
            }
            if (end.isUnanswered)
                unansweredUntil = Date.now() + LATE_MS;
            else if (end.code === REPLACED && Date.now() < unansweredUntil)
                end.code = RESTARTING;
            const isNoFailedTry = end.code === RESTARTING || end.code === PAIRING;
            if (isNoFailedTry || (end.wasWelcome && Date.now() - began >= STEADY_MS))
                awaySince = Date.now();
            const waitMs = this.#waitAfter(end, Date.now() - awaySince);
            if (end.code === PAIRING)
                await this.#showCode(end.pairingCode ?? "");
            else
                this.#emit("disconnected", { reason: farewell(end), waitMs: Math.round(waitMs) });
            await new Promise((resolve) => {
                const timer = setTimeout(resolve, waitMs);
                this.#stop = () => (clearTimeout(timer), resolve());
            });
        }
        welcomed(); // closed before it was: nothing waits for it any more
    }
    #waitAfter(end, awayMs) {
        const draw = Math.random();
        const waitMs = waitAfter(end.code, awayMs, draw, end.retryAfterMs);
        if (waitMs === null)
            throw new TurnedAway(end.code, farewell(end));
        if (end.to !== undefined && this.#route.turnTo(end.to)) {
            return Math.max(Math.min(end.retryAfterMs ?? 0, 86_400_000), TURN_MS * draw);
        }
        return end.code !== PAIRING && this.#route.turn() ? TURN_MS * draw : waitMs;
    }
    async #showCode(code) {
        if (code === "" || code === this.#code)
            return;
        this.#code = code;
        const key = await this.#key(this.#rows.get("hub") ?? "");
        this.#emit("pairing", { code, keyId: await keyId(key.publicKey) });
    }
    async #key(hub) {
        const rows = this.#rows;
        const stored = rows.get(`key/${hub}`);
        if (stored !== undefined)
            return DeviceKey.read(stored);
        const made = await DeviceKey.make();
        await rows.change(() => rows.put(`key/${hub}`, made.stored)); // before it is shown: a kill may come after
        return made.key;
    }
    async #hello(challenge, address, nonce) {
        const rows = this.#rows;
        const { token, invitation, name, client, files, fileGrants = [], tools = {} } = this.#options;
        const isGranted = files !== undefined && fileGrants.length > 0;
        const hub = await checkProof(challenge, address, nonce);
        const known = rows.get("hub");
        if (known !== hub) {
            const id = await keyId(hub);
            if (known !== undefined && id !== this.#options.acceptHub?.toUpperCase()) {
                throw new HubNotTrusted(`${address} has another key than before, ${id}; if that is meant, give it as acceptHub`);
            }
            await rows.change(() => rows.put("hub", hub));
        }
        const names = [...OF_ROWS, ...(files ? OF_FILES : []), ...(isGranted ? OF_GRANTED_FILES : []), ...Object.keys(tools)];
        const roots = ((await files?.roots()) ?? []).map((root) => root.spellings[0] ?? root.name);
        const hello = {
            type: "device_hello",
            device_id: name,
            protocol: { min: 1, max: 1 },
            client: { name: client?.name ?? "device-hub", version: client?.version ?? VERSION, instance: this.#instance },
            capabilities: names.map((one) => ({ name: one })),
            store: rows.mark,
            roots: roots.length <= 64 ? roots : [],
            ...(isGranted ? { grants: [{ name: "files.read", tables: fileGrants.slice(0, 16) }] } : {}),
        };
        if (token !== undefined)
            return { ...hello, token };
        const key = await this.#key(hub);
        const at = Date.now();
        const identity = { public_key: key.publicKey, signed_at_ms: at, address };
        const signature = await key.sign(signedText(challenge, hello, at, address));
        return { ...hello, identity: { ...identity, signature }, ...(invitation ? { invitation } : {}) };
    }
    #welcomed(welcome, connection) {
        const rows = this.#rows;
        this.#connection = connection;
        this.#code = "";
        this.#runLimits = welcome.limits;
        this.#learn(welcome.hubs ?? []);
        rows.change(() => rows.noteWelcome(welcome)).catch((error) => this.#failed(error));
        this.#emit("connected", { address: dialled(this.#route.current) });
        void this.#report();
    }
    #learn(named) {
        const rows = this.#rows;
        this.#route.learn(named);
        const addresses = { named, last: this.#route.current };
        if (JSON.stringify(rows.get("addresses")) === JSON.stringify(addresses))
            return;
        rows.change(() => rows.put("addresses", addresses)).catch((error) => this.#failed(error));
    }
    /** The store cannot write: nothing is answered, and the hub sends again what was not answered. */
    #failed(error) {
        this.#emit("warning", { message: `the store failed: ${String(error)}` });
        this.#connection?.close();
    }
    #frame(frame, connection) {
        switch (frame.type) {
            case "tool_call":
                return this.#takeCalls([frame], connection);
            case "tool_calls":
                return this.#takeCalls(frame.calls.map((call) => ({ ...call, type: "tool_call" })), connection);
            case "agent_run":
                return this.#begin(frame, connection);
            case "agent_fetch":
            case "agent_credit":
            case "agent_cancel": {
                const run = this.#runs.get(frame.run_id);
                if (run !== undefined && (frame.fence ?? run.frame.fence) === run.frame.fence)
                    run.take(frame);
                return;
            }
            case "hubs":
                return this.#learn(frame.hubs);
            case "event":
                return this.#emit("event", { event: frame.event, data: frame.data });
            default: {
                const { type } = frame;
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
    #takeCalls(calls, connection) {
        const tools = this.#options.tools ?? {};
        const [call] = calls;
        const { files, fileGrants = [] } = this.#options;
        if (files !== undefined && call !== undefined && OF_GRANTED_FILES.includes(call.action)) {
            if (call.action === "files.read")
                this.#emit("read", { path: String(call.data?.["path"]), by: String(call.data?.["reader"] ?? "") });
            void answerFiles(call, files, fileGrants).then((answer) => this.#answer([call], [answer], connection));
            return;
        }
        const tool = call === undefined ? undefined : tools[call.action];
        if (call !== undefined && tool !== undefined) {
            this.#useTool(call, tool).then((answer) => this.#answer([call], [answer], connection), (error) => this.#failed(error));
            return;
        }
        this.#waiting.push(calls);
        if (!this.#isWorking)
            void this.#work(connection);
    }
    /** Do the calls that wait, all in one transaction, and answer them once they are written. */
    async #work(connection) {
        const rows = this.#rows;
        this.#isWorking = true;
        try {
            while (this.#waiting.length > 0) {
                const batches = this.#waiting.splice(0);
                const changed = new Set();
                const answers = await rows.change(() => {
                    const done = batches.map((calls) => calls.map((call) => rows.apply(call)));
                    for (const key of rows.changed())
                        if (key.startsWith("row/"))
                            changed.add(key.slice("row/".length));
                    return done;
                });
                for (const [at, calls] of batches.entries())
                    this.#answer(calls, answers[at] ?? [], this.#connection ?? connection);
                for (const id of changed) {
                    const kept = rows.row(id);
                    if (kept === undefined)
                        this.#emit("withdrawn", { id });
                    else if (kept.proposal?.rejected !== true)
                        this.#emit("suggestion", this.#item(kept));
                }
            }
        }
        catch (error) {
            this.#waiting = [];
            this.#failed(error);
        }
        finally {
            this.#isWorking = false;
        }
    }
    #useTool(call, tool) {
        const rows = this.#rows;
        const known = rows.answered(call);
        if (known !== undefined)
            return Promise.resolve(known);
        const going = this.#tools.get(call.id);
        if (going !== undefined)
            return going;
        const use = async () => {
            let answer;
            try {
                answer = { result: (await tool(call)) ?? {} };
            }
            catch (error) {
                if (!(error instanceof Refusal))
                    return refusal("device_error", String(error)); // may do the next time
                answer = refusal(error.code, error.message);
            }
            await rows.change(() => rows.settle(call, answer));
            return answer;
        };
        const done = use().finally(() => this.#tools.delete(call.id));
        this.#tools.set(call.id, done);
        return done;
    }
    #answer(calls, answers, connection) {
        const results = calls.map((call, at) => {
            const trace = call.trace ? { trace: call.trace } : {};
            const answer = answers[at] ?? refusal("internal", "there is no answer");
            const result = { type: "tool_result", id: call.id, ...trace, ...answer };
            return bytesOf(answer) <= MAX_RESULT_BYTES
                ? result
                : { ...result, result: null, error: refusal("result_too_large", "the answer is too large").error };
        });
        let batch = [];
        const flush = () => {
            const [only] = batch;
            if (batch.length > 1)
                connection.send({ type: "tool_results", results: batch });
            else if (only !== undefined)
                connection.send(only);
            batch = [];
        };
        for (const result of results) {
            if (bytesOf([...batch, result]) > MAX_RESULT_BYTES - 1024)
                flush();
            batch.push(result);
        }
        flush();
    }
    /** Tell the hub the verdicts that it has not confirmed; again until it has. */
    async #report() {
        const connection = this.#connection;
        if (this.#isReporting || connection === null)
            return;
        this.#isReporting = true;
        clearTimeout(this.#reportTimer);
        const rows = this.#rows;
        try {
            const unreported = () => rows.change(() => rows.unreported(MAX_VERDICTS));
            for (let report = await unreported(); report.length > 0; report = await unreported()) {
                await connection.request("review.report", { verdicts: report }).catch((error) => {
                    const isOlder = error instanceof HubError && error.code === "bad_params" && report[0]?.verdict === "open";
                    if (!isOlder)
                        throw error; // an older hub learns by the counter of the row
                });
                await rows.change(() => rows.noteReported(report));
            }
        }
        catch (error) {
            const againMs = (error instanceof HubError ? error.retryAfterMs : undefined) ?? REPORT_AGAIN_MS;
            if (this.#connection === connection)
                this.#reportTimer = setTimeout(() => void this.#report(), againMs);
        }
        finally {
            this.#isReporting = false;
        }
        if (this.#connection !== connection)
            void this.#report();
    }
    // Runs
    #begin(frame, connection) {
        const { run_id: id, fence } = frame;
        const before = this.#runs.get(id);
        if (fence < (this.#fences.get(id) ?? -1) || before?.frame.fence === fence)
            return;
        this.#fences.delete(id);
        this.#fences.set(id, fence);
        const [oldest] = this.#fences.keys();
        if (this.#fences.size > MAX_FENCES && oldest !== undefined)
            this.#fences.delete(oldest);
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
            if (this.#runs.get(id) === run)
                this.#runs.delete(id);
            this.#emit("run", { id, agentId: frame.agent_id, state: "ended" });
        });
    }
}
function farewell(end) {
    const meaning = end.code === null ? "" : (CLOSE_MEANINGS[end.code] ?? "");
    return ([end.reason, meaning].filter((one, at, all) => one !== "" && all.indexOf(one) === at).join(": ") ||
        "the connection broke");
}
