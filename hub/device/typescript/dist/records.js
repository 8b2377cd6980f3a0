// Rows of a device and answers to calls: PROTOCOL.md, "Calls" and "Agreement about the past".
import { MAX_RESULT_BYTES, TABLES, } from "./protocol.js";
import { NO_CONTENT, Refusal, bytesOf, column, columns, content, empty, matches, problemOf, refuse, same, spelled, } from "./tables.js";
const SUGGESTED = { isAiSuggested: 1, isApproved: 0 };
const NAMED = new Set(["projects", "tasks"]); // whose approved rows a hub sees by title
const NOT_STORED = new Set(["rows.list", "rows.known", "table.declare", "file.get"]);
const CHANGES = new Set(["insert", "update", "delete"]);
const KEEP_MS = 30 * 86_400_000; // answers of calls that changed nothing
const MAX_PAGE_BYTES = (MAX_RESULT_BYTES * 3) / 4;
const MAX_DATA_BYTES = 8_192; // of one listed row
const MAX_ASKED = 500;
const MAX_TABLES = 32;
/** Rows and answers in memory, each change written to the store before it counts. */
export class Records {
    #entries = new Map();
    #store;
    #changes = new Map();
    #last = Promise.resolve();
    constructor(store) {
        this.#store = store;
    }
    static async open(store) {
        const records = new Records(store);
        for (const [key, value] of await store.load())
            records.#entries.set(key, value);
        await records.change(() => {
            if (records.get("mark") === undefined)
                records.put("mark", { id: crypto.randomUUID(), counter: 0 });
            for (const [key, value] of records.#entries) {
                const call = value; // of calls that changed nothing, as of no other entry
                if (!key.startsWith("call/") || call.at > Date.now() - KEEP_MS)
                    continue;
                if (call.answer.error || !(CHANGES.has(call.action) || call.action === "message.deliver"))
                    records.put(key, null);
            }
        });
        return records;
    }
    get(key) {
        const changed = this.#changes.get(key);
        return (changed === undefined ? this.#entries.get(key) : (changed ?? undefined));
    }
    put(key, value) {
        this.#changes.set(key, value);
    }
    /** Do `work` and write what it changed, all or nothing, after the changes before it. */
    change(work) {
        const done = this.#last.then(async () => {
            const changes = new Map();
            let result;
            try {
                this.#changes = changes;
                result = work();
            }
            finally {
                this.#changes = new Map(); // others see what is written, and nothing before
            }
            if (changes.size > 0)
                await this.#store.write(changes);
            for (const [key, value] of changes) {
                if (value === null)
                    this.#entries.delete(key);
                else
                    this.#entries.set(key, value);
            }
            return result;
        });
        this.#last = done.catch(() => undefined);
        return done;
    }
    /** Keys that the work that goes on has changed. */
    changed() {
        return this.#changes.keys();
    }
    async close() {
        await this.#last;
        await this.#store.close?.();
    }
    get mark() {
        const { id, counter } = this.get("mark") ?? { id: "", counter: 0 };
        return { id, counter };
    }
    /** Keep how far the hub knows this store. A store that may be an older copy of itself gets another id. */
    noteWelcome(welcome) {
        const mark = this.get("mark");
        if (mark === undefined)
            return;
        const known = welcome.store?.id === mark.id ? welcome.store.counter : 0;
        const isOlder = known > mark.counter || (known === 0 && mark.counter > 0);
        if (isOlder)
            this.put("mark", { id: crypto.randomUUID(), counter: mark.counter });
    }
    #count() {
        const mark = this.get("mark") ?? { id: crypto.randomUUID(), counter: 0 };
        this.put("mark", { ...mark, counter: mark.counter + 1 });
        return mark.counter + 1;
    }
    /** Every row, with the changes of the work that goes on. */
    *kept() {
        for (const [key, value] of this.#entries) {
            if (key.startsWith("row/") && !this.#changes.has(key))
                yield value;
        }
        for (const [key, value] of this.#changes)
            if (key.startsWith("row/") && value !== null)
                yield value;
    }
    row(id) {
        return this.get(`row/${id}`);
    }
    #keep(kept) {
        this.put(`row/${kept.id}`, kept);
    }
    // Calls of the hub
    /** The stored answer of a call, or undefined: it has to be done. */
    answered(call) {
        return this.get(`call/${call.id}`)?.answer;
    }
    /** Store the answer of a call that was done elsewhere. */
    settle(call, answer) {
        if (!NOT_STORED.has(call.action))
            this.put(`call/${call.id}`, { answer, action: call.action, at: Date.now() });
    }
    /** Do a call, or answer it from the store. A refused call changes nothing. */
    apply(call) {
        const known = this.answered(call);
        if (known !== undefined)
            return known;
        let answer;
        try {
            const result = this.#do(call);
            answer = CHANGES.has(call.action) ? { result, counter: this.mark.counter } : { result };
        }
        catch (error) {
            if (!(error instanceof Refusal))
                throw error;
            answer = refusal(error.code, error.message);
        }
        this.settle(call, answer);
        return answer;
    }
    #do(call) {
        if (call.action === "rows.list")
            return this.#list(call);
        if (call.action === "rows.known")
            return this.#known(call);
        if (call.action === "table.declare")
            return this.#declare(call);
        if (!CHANGES.has(call.action) && call.action !== "query") {
            throw new Refusal("call_unsupported", `this device does no ${call.action}`);
        }
        const table = this.table(call.table ?? "");
        if (call.action === "insert")
            return this.#insert(table, call);
        if (call.action === "update")
            return this.#update(table, call);
        if (call.action === "delete")
            return this.#delete(table, call);
        return this.#query(table, call);
    }
    #insert(table, call) {
        const data = call.data ?? {};
        this.#check(table, data, false);
        this.#checkReferences(table, data);
        const id = crypto.randomUUID();
        const row = this.#fresh(table, id, data, SUGGESTED);
        const by = this.#write(call);
        const kept = { id, table: table.name, row, own: false, by, made: call.id, written: content(row) };
        this.#keep({ ...kept, reported: null, owned: false, proposal: null });
        return { id };
    }
    #update(table, call) {
        const data = call.data ?? {};
        this.#check(table, data, true);
        if (Object.entries(SUGGESTED).some(([flag, value]) => flag in data && data[flag] !== value)) {
            throw new Refusal("bad_record", `${table.name}.isApproved: a hub writes suggestions, their owner approves them`);
        }
        const kept = this.#named(table, call.where ?? {});
        const row = kept.row ?? {};
        if (this.#isOpen(kept)) {
            const changed = { ...row, ...spelled(table, data), updatedAt: Date.now() };
            refuse(lacking(table, changed));
            this.#checkReferences(table, data);
            const by = this.#write(call);
            this.#keep({ ...kept, row: changed, by, written: content(changed), reported: null });
            return { updated: 1 };
        }
        const asked = Object.entries(spelled(table, data)).filter(([name, value]) => !(name in SUGGESTED) && !same(row[name], value));
        const isNews = asked.length > 0;
        this.#keep({ ...kept, proposal: { by: this.#write(call), data: Object.fromEntries(asked), rejected: !isNews } });
        return isNews ? { updated: 0, proposed: 1 } : { updated: 0 };
    }
    #delete(table, call) {
        const kept = this.#named(table, call.where ?? {});
        if (!this.#isOpen(kept)) {
            this.#keep({ ...kept, proposal: { by: this.#write(call), data: null, rejected: false } });
            return { deleted: 0, proposed: 1 };
        }
        this.#refuseReferred(kept);
        this.#write(call);
        this.put(`row/${kept.id}`, null);
        return { deleted: 1 };
    }
    #query(table, call) {
        const where = call.where ?? {};
        const fields = call.data?.["fields"];
        const wanted = Array.isArray(fields) ? fields : null;
        const unknown = [...Object.keys(where), ...(wanted ?? [])].filter((name) => column(table, name) === undefined);
        refuse(unknown.map((name) => `${table.name}.${name}: there is no such field`));
        const found = [...this.kept()].filter((kept) => kept.table === table.name && kept.row !== null);
        found.sort((one, other) => order(one) - order(other) || (one.id < other.id ? -1 : 1));
        if (call.data?.["newest_first"])
            found.reverse();
        const rows = [];
        for (const kept of found) {
            const row = kept.row ?? {};
            const seen = new Set(this.#seen(table, kept));
            const shown = wanted ?? Object.keys(row).filter((name) => seen.has(name));
            if (seen.size === 0 || ![...Object.keys(where), ...shown].every((name) => seen.has(name)))
                continue;
            if (!matches(row, where))
                continue;
            if (rows.length === (call.limit ?? 100))
                break;
            rows.push(Object.fromEntries(shown.map((name) => [name, row[name] ?? null])));
        }
        if (bytesOf(rows) > MAX_RESULT_BYTES - 1024) {
            throw new Refusal("result_too_large", `${rows.length} rows are more than ${MAX_RESULT_BYTES} bytes`);
        }
        return { rows };
    }
    #list(call) {
        const since = call.data?.["since"] ?? 0;
        if (typeof since !== "number" || since < 0)
            throw new Refusal("bad_record", "since: expected a counter");
        const behind = [...this.kept()].filter((kept) => !kept.own && kept.by.counter > since);
        behind.sort((one, other) => one.by.counter - other.by.counter);
        const rows = [];
        let size = 0;
        for (const kept of behind) {
            const row = this.#listed(kept);
            size += bytesOf(row) + 1;
            if (rows.length > 0 && (size > MAX_PAGE_BYTES || rows.length === (call.limit ?? 100)))
                break;
            rows.push(row);
        }
        return { store: this.mark, rows, more: rows.length < behind.length };
    }
    #listed(kept) {
        const table = this.table(kept.table);
        const { source, agent, run, counter, call } = kept.by;
        const seen = new Set(this.#seen(table, kept));
        const shown = columns(table).filter((one) => seen.has(one.name) && ["model", "person"].includes(one.filler ?? "model"));
        const data = Object.fromEntries(shown.map((one) => [one.name, kept.row?.[one.name] ?? null]).filter(([, value]) => value !== null));
        const listed = {
            counter,
            call_id: call,
            table: kept.table,
            row_id: kept.id,
            state: stateOf(table, kept),
            agent_id: agent,
            run_id: run,
        };
        return {
            ...listed,
            ...(kept.made === call ? {} : { inserted_by: kept.made }),
            ...(source === null
                ? {}
                : { path: source.path, sha256: source.sha256 ?? null, timezone: source.timezone ?? null }),
            ...(source === null ? {} : { quote: source.quote, start: source.start, end: source.end }),
            data: bytesOf(data) <= MAX_DATA_BYTES ? data : {},
        };
    }
    #known(call) {
        const calls = asked(call, "calls").filter((id) => this.get(`call/${id}`) !== undefined);
        const rows = asked(call, "rows").filter((id) => this.row(id)?.own === false && this.row(id)?.row !== null);
        return { calls, rows };
    }
    #declare(call) {
        const declared = call.declares;
        if (!declared || declared.name !== call.table)
            throw new Refusal("bad_record", "expected 'declares' with the name of the table");
        const name = declared.name;
        if (TABLES.some((table) => table.name.toLowerCase() === name.toLowerCase())) {
            throw new Refusal("bad_record", `${name} is a built-in table`);
        }
        if (!declared.fields.some((one) => one.name === declared.title)) {
            throw new Refusal("bad_record", `${name}: there is no field ${declared.title}, which names its rows`);
        }
        const before = this.get(`table/${name}`);
        const own = [...this.#entries.keys()].filter((key) => key.startsWith("table/"));
        if (before === undefined && own.length >= MAX_TABLES) {
            throw new Refusal("bad_record", `${name}: this device has ${MAX_TABLES} tables of hubs already`);
        }
        const fresh = new Map(declared.fields.map((one) => [one.name, one]));
        const fields = (before?.fields ?? []).map((one) => {
            const after = fresh.get(one.name);
            fresh.delete(one.name);
            if (after === undefined)
                return { ...one, required: false, required_to_approve: false };
            if (after.kind === one.kind && same(after.refers_to, one.refers_to))
                return after;
            throw new Refusal("bad_record", `${name}.${one.name} is a ${one.kind} at this device, not a ${after.kind}; rename the field`);
        });
        const merged = { ...declared, fields: [...fields, ...fresh.values()] };
        if (!same(before, merged))
            this.put(`table/${name}`, merged);
        return { columns: columns(merged).map((one) => one.name) };
    }
    table(name) {
        const found = TABLES.find((table) => table.name === name) ?? this.get(`table/${name}`);
        if (found === undefined)
            throw new Refusal("unknown_table", `there is no table ${JSON.stringify(name)}`);
        return found;
    }
    #write(call) {
        const { source = null, agent_id: agent = null, run_id: run = null } = call;
        return { call: call.id, counter: this.#count(), source, agent, run };
    }
    #fresh(table, id, data, flags) {
        const defaults = Object.fromEntries(columns(table).map((one) => [one.name, one.default ?? null]));
        return { ...defaults, ...spelled(table, data), ...flags, id, createdAt: Date.now(), updatedAt: Date.now() };
    }
    /** Refuse fields that there are not, that the device fills, whose values are wrong, or that refer to no row. */
    #check(table, data, isPartial) {
        const problems = [];
        for (const [name, value] of Object.entries(data)) {
            const of = column(table, name);
            const wrong = of === undefined ? "there is no such field" : problemOf(of, value);
            if (wrong !== null)
                problems.push(`${table.name}.${name}: ${wrong}`);
        }
        if (!isPartial)
            problems.push(...lacking(table, data));
        if (isPartial && Object.keys(data).length === 0)
            problems.push(`${table.name}: no field to change`);
        refuse(problems);
    }
    #checkReferences(table, data) {
        for (const { name, refers_to } of columns(table)) {
            const id = data[name];
            const referred = typeof id === "string" ? this.row(id) : undefined;
            if (!refers_to || typeof id !== "string" || (referred?.table === refers_to && referred.row !== null))
                continue;
            throw new Refusal("database_conflict", `${table.name}.${name}: it refers to a row that is not there`);
        }
    }
    /** The one row of the hub that `where` matches. A row of the owner is matched by its id alone. */
    #named(table, where) {
        const names = Object.keys(where);
        if (names.length === 0)
            throw new Refusal("bad_record", `${table.name}: 'where' must say which rows`);
        refuse(names
            .filter((name) => column(table, name) === undefined)
            .map((name) => `${table.name}.${name}: there is no such field`));
        const id = where["id"];
        const candidates = typeof id === "string" ? [this.row(id)] : this.kept();
        const found = [];
        for (const kept of candidates) {
            if (kept?.table !== table.name || kept.own || kept.row === null)
                continue;
            if ((this.#isOpen(kept) || (names.length === 1 && id !== undefined)) && matches(kept.row, where))
                found.push(kept);
        }
        const [first, ...others] = found;
        if (others.length > 0)
            throw new Refusal("bad_record", `${table.name}: 'where' names several rows; name one by its id`);
        if (first === undefined)
            throw new Refusal("database_conflict", `${table.name}: there is no such row`);
        return first;
    }
    #isOpen(kept) {
        return !kept.own && !kept.owned && this.state(kept) === "open";
    }
    #seen(table, kept) {
        if (this.#isOpen(kept))
            return columns(table).map((one) => one.name);
        return kept.row?.["isApproved"] && NAMED.has(table.name) ? ["id", "isApproved", table.title] : [];
    }
    #refuseReferred(gone) {
        for (const kept of this.kept()) {
            const refers = columns(this.table(kept.table)).filter((one) => one.refers_to === gone.table);
            if (refers.some((one) => kept.row?.[one.name] === gone.id)) {
                throw new Refusal("database_conflict", `${gone.table}: ${kept.table} ${JSON.stringify(kept.row?.[this.table(kept.table).title])} refer to it`);
            }
        }
    }
    // Decisions of the owner
    state(kept) {
        return stateOf(this.table(kept.table), kept);
    }
    /** Approve a row, or accept its proposed change; `fields` are filled in first. */
    approve(id, fields = {}) {
        const kept = this.#existing(id);
        const { proposal } = kept;
        const isProposed = proposal !== null && !proposal.rejected;
        if (isProposed && proposal.data === null) {
            this.#refuseReferred(kept);
            this.put(`row/${id}`, null);
            return;
        }
        const table = this.table(kept.table);
        const changed = this.#edited(kept, { ...(isProposed ? proposal.data : {}), ...fields }, { isApproved: 1 });
        const lacking = columns(table).find((one) => one.required_to_approve && empty(changed[one.name]));
        if (lacking !== undefined)
            throw new Refusal("bad_record", `${table.name}.${lacking.name}: needed to approve it`);
        const accepted = isProposed
            ? { by: proposal.by, written: content(changed), reported: null, owned: true, proposal: null }
            : {};
        this.#keep({ ...kept, row: changed, ...accepted });
    }
    /** Change fields of a row; it is its owner's from then on. */
    edit(id, fields) {
        const kept = this.#existing(id);
        this.#keep({ ...kept, row: this.#edited(kept, fields, {}) });
    }
    /** Reject a row, or its proposed change; the row stays as it is then. */
    reject(id) {
        const kept = this.#existing(id);
        if (kept.proposal !== null && !kept.proposal.rejected) {
            this.#keep({ ...kept, proposal: { ...kept.proposal, rejected: true } });
            return;
        }
        if (kept.row?.["isApproved"])
            throw new Refusal("bad_record", "its owner has approved it; remove deletes it");
        this.#remove(kept);
    }
    /** Delete a row, whatever is proposed for it. */
    remove(id) {
        this.#remove(this.#existing(id));
    }
    #remove(kept) {
        this.#refuseReferred(kept);
        if (kept.own)
            this.put(`row/${kept.id}`, null);
        else
            this.#keep({ ...kept, row: null });
    }
    /** Write a row of the owner's own, as a project that suggestions may belong to. */
    add(tableName, data) {
        const table = this.table(tableName);
        this.#check(table, data, false);
        this.#checkReferences(table, data);
        const id = crypto.randomUUID();
        const row = this.#fresh(table, id, data, { isAiSuggested: 0, isApproved: 1 });
        const by = { call: "", counter: 0, source: null, agent: null, run: null };
        this.#keep({
            id,
            table: table.name,
            row,
            own: true,
            by,
            made: "",
            written: row,
            reported: null,
            owned: true,
            proposal: null,
        });
        return id;
    }
    #existing(id) {
        const kept = this.row(id);
        if (kept === undefined || kept.row === null)
            throw new Refusal("database_conflict", `there is no row ${JSON.stringify(id)}`);
        return kept;
    }
    #edited(kept, fields, flags) {
        const table = this.table(kept.table);
        if (Object.keys(fields).length > 0)
            this.#check(table, fields, true);
        const edited = { ...kept.row, ...spelled(table, fields), ...flags, updatedAt: Date.now() };
        refuse(lacking(table, edited));
        this.#checkReferences(table, fields);
        return edited;
    }
    /** At most so many verdicts of the owner that the hub has not confirmed, noted as sent. Those that were taken back
     *  come first and alone: a hub of an older release refuses their word. */
    unreported(most) {
        const found = this.#unconfirmed();
        const undone = found.filter(({ verdict }) => verdict === "open");
        const report = (undone.length > 0 ? undone : found).slice(0, most);
        const calls = new Set(report.map(({ call_id }) => call_id));
        for (const kept of [...this.kept()]) {
            const { call } = kept.by;
            if (!kept.own && calls.has(call) && kept.sent !== call)
                this.#keep({ ...kept, sent: call });
        }
        return report;
    }
    #unconfirmed() {
        const reports = [];
        for (const kept of this.kept()) {
            if (kept.own)
                continue;
            const state = this.state(kept);
            const isSent = state === "open" && kept.sent === kept.by.call;
            if (isSent || state !== (kept.reported ?? "open"))
                reports.push({ call_id: kept.by.call, verdict: state });
            if (kept.proposal !== null && (kept.proposal.rejected || kept.row === null)) {
                reports.push({ call_id: kept.proposal.by.call, verdict: state === "open" ? "edited" : state });
            }
        }
        return reports;
    }
    /** Keep that the hub has confirmed verdicts; each gets a new number, for a hub that is restored. */
    noteReported(reports) {
        const kept = [...this.kept()];
        const written = new Map(kept.map((one) => [one.by.call, one.id]));
        const proposed = new Map(kept.map((one) => [one.proposal?.by.call, one.id]));
        for (const { call_id, verdict } of reports) {
            const row = this.row(written.get(call_id) ?? "");
            const reported = verdict === "open" ? null : verdict;
            if (row !== undefined)
                this.#keep({ ...row, by: { ...row.by, counter: this.#count() }, reported, sent: null });
            const other = this.row(proposed.get(call_id) ?? "");
            if (other === undefined)
                continue;
            this.#count();
            this.#keep({ ...other, proposal: null });
        }
    }
}
export function refusal(code, message) {
    return { error: { code, message: message.slice(0, 2000) } };
}
function lacking(table, row) {
    const required = columns(table).filter((one) => one.required && one.filler !== "device" && one.default === undefined);
    return required.filter((one) => empty(row[one.name])).map((one) => `${table.name}.${one.name}: is required`);
}
const order = (kept) => Number(kept.row?.["createdAt"] ?? 0);
/** What the owner has said to a row. A field that a person adds to an approved row is no edit. */
function stateOf(table, kept) {
    const { row, written } = kept;
    if (row === null)
        return "rejected";
    const isEdited = columns(table).some((one) => {
        if (NO_CONTENT.has(one.name) || same(row[one.name], written[one.name]))
            return false;
        return !(row["isApproved"] && one.filler === "person" && (written[one.name] ?? null) === null);
    });
    if (isEdited)
        return "edited";
    return row["isApproved"] ? "approved" : "open";
}
function asked(call, name) {
    const ids = call.data?.[name] ?? [];
    if (!Array.isArray(ids) || ids.length > MAX_ASKED)
        throw new Refusal("bad_record", `${name}: expected at most ${MAX_ASKED} ids`);
    return ids;
}
