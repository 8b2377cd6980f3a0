// Files that a device shares, and runs that read them: PROTOCOL.md, "Runs".
import { sha256, toBase64 } from "./keys.js";
import { Refusal, bytesOf } from "./tables.js";
/** A file is left out; `reason` is one of the protocol, as `changed` or `unreadable`. */
export class Unreadable extends Error {
    reason;
    constructor(reason) {
        super(reason);
        this.reason = reason;
    }
}
const VERSION_CONTROL = new Set([".git", ".hg", ".svn", ".bzr", ".jj", "cvs", "_darcs", "sccs"]);
const GENERATED = new Set(["node_modules", "bower_components", "__pycache__", "site-packages"]);
const KEY_FILE = /^(id_(rsa|dsa|ecdsa|ed25519).*|.*\.(pem|key|p8|p12|pfx|ppk|jks|keystore|kdbx?|gpg|ovpn|env|token|keytab|htpasswd)|.*_rsa|(passwords?|credentials|secrets)(\..*)?)$/;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const RAW = new Set(["html", "htm", "xhtml", "eml", "mbox"]); // the hub reads them itself where no media type is told
const MEDIA_TYPES = {
    md: "text/markdown",
    markdown: "text/markdown",
    csv: "text/csv",
    ics: "text/calendar",
    pdf: "application/pdf",
    docx: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    pptx: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    odt: "application/vnd.oasis.opendocument.text",
    png: "image/png",
    jpg: "image/jpeg",
    jpeg: "image/jpeg",
    mp3: "audio/mpeg",
    m4a: "audio/mp4",
    wav: "audio/wav",
    ogg: "audio/ogg",
};
const MAX_FILE_BYTES = 32 * 1024 * 1024;
const PAGE_BYTES = 256 * 1024 * 1024; // hashed for one frame of a manifest, because the hub waits for it
const MAX_ENTRIES = 5_000; // of a manifest frame
const MAX_SKIPPED = 5_000; // listed by name
const PART_BYTES = 48 * 1024; // of an answer with files, or a part of one
const FRAME_ROOM = 1_024;
const REMIND_MS = 30_000; // a hub waits 120 s for the next frame
/** Why files and folders of this name stay on the device, or null. */
export function whyPrivate(name) {
    const lowered = name.normalize("NFC").toLowerCase();
    if (VERSION_CONTROL.has(lowered))
        return "version_control";
    if (KEY_FILE.test(lowered))
        return "key_file";
    if (GENERATED.has(lowered))
        return "generated";
    return name.startsWith(".") ? "hidden" : null;
}
class Cancelled extends Error {
}
/** Run that sends files; `take` gets the later frames of the hub. */
export class Run {
    frame;
    files;
    digests;
    send;
    #credit;
    #seq = 0;
    #sent = 0;
    #isOver = false;
    #hasLastFetch = false;
    #pages = 1;
    #requested = [];
    #wake = () => undefined;
    #skipped = new Map();
    #counts = new Map();
    #frameBytes;
    #pieceBytes;
    constructor(frame, files, digests, limits, send) {
        this.frame = frame;
        this.files = files;
        this.digests = digests;
        this.send = send;
        this.#credit = frame.credit ?? 16;
        this.#frameBytes = (limits?.max_message_bytes ?? 1024 * 1024) - FRAME_ROOM;
        this.#pieceBytes = Math.min(limits?.max_piece_bytes ?? 256 * 1024, this.#frameBytes);
    }
    get #run() {
        const { run_id, fence, trace } = this.frame;
        return trace ? { run_id, fence, trace } : { run_id, fence };
    }
    take(frame) {
        if (frame.type === "agent_credit")
            this.#credit += frame.pieces;
        else if (frame.type === "agent_fetch") {
            this.#pages += 1;
            this.#requested.push(...(frame.paths ?? []));
            this.#hasLastFetch ||= frame.last ?? true;
        }
        else {
            this.complete({ code: "cancelled", message: `stopped by the hub (${frame.reason || "no reason given"})` });
        }
        this.#wake();
    }
    /** Send no more: the connection has ended, or the run was handed out anew. */
    abandon() {
        this.#isOver = true;
        this.#wake();
    }
    async serve() {
        this.send({ type: "agent_ack", ...this.#run });
        const reminder = setInterval(() => this.send({ type: "agent_data", ...this.#run, seq: this.#seq++ }), REMIND_MS);
        try {
            const listed = await this.#list();
            if (this.frame.mode === "manifest") {
                clearInterval(reminder); // a manifest comes first, in pages that do not take long
                await this.#offer(listed);
                await this.#sendRequested(new Map(listed.map((file) => [file.path, file])));
            }
            else {
                for (const file of listed)
                    await this.#sendFile(file);
            }
            this.complete();
        }
        catch (error) {
            if (!(error instanceof Cancelled)) {
                this.complete({ code: "internal", message: `a fault in the device: ${String(error)}`.slice(0, 2000) });
            }
        }
        finally {
            clearInterval(reminder);
        }
    }
    complete(error) {
        if (this.#isOver)
            return;
        this.#isOver = true;
        const counted = [...this.#counts].map(([reason, files]) => ({ path: "*", reason, files }));
        const told = { files: this.#sent, skipped: [...this.#skipped.values(), ...counted] };
        this.send({ type: "agent_complete", ...this.#run, ...told, ...(error ? { error } : {}) });
    }
    async #list() {
        const roots = await this.files.roots();
        const asked = this.frame.config.paths ?? [];
        const places = asked.length === 0 ? [""] : asked.flatMap((path) => this.#placesOf(path, roots));
        const only = this.frame.only ? placesIn(this.frame.only, roots) : null;
        if (only?.length === 0)
            this.#skip(this.frame.only ?? "", "outside_shared");
        const endings = (this.frame.config.file_extensions ?? []).map((one) => `.${one.replace(/^\./, "")}`.toLowerCase());
        const limits = this.frame.paged ? null : { files: 2000, bytes: 64 * 1024 * 1024, ...this.frame.limits };
        const found = [];
        let bytes = 0;
        for (const file of await this.files.list()) {
            const isIn = places.some((place) => isBelow(file.path, place));
            if (only !== null && !only.includes(file.path))
                continue;
            const reason = whyPrivatePath(file.path);
            if (!isIn && only !== null)
                this.#skip(file.path, "outside_paths");
            else if (!isIn)
                continue;
            else if (reason)
                this.#count(reason);
            else if (endings.length > 0 && !endings.some((one) => file.path.toLowerCase().endsWith(one)))
                this.#count("other_extension");
            else if (file.size > MAX_FILE_BYTES)
                this.#skip(file.path, "too_large");
            else if (limits !== null && (found.length >= limits.files || bytes + file.size > limits.bytes))
                this.#skip(file.path, "limit");
            else {
                found.push(file);
                bytes += file.size;
            }
        }
        if (only !== null && only.length > 0 && found.length + this.#skipped.size + this.#counts.size === 0) {
            this.#skip(this.frame.only ?? "", "missing");
        }
        return found.sort((one, other) => (one.path < other.path ? -1 : 1));
    }
    #placesOf(path, roots) {
        const found = placesIn(path, roots);
        if (found.length === 0)
            this.#skip(path, "outside_shared");
        return found;
    }
    async #offer(files) {
        const hasTree = (this.frame.paged ?? false) && (this.frame.tree ?? false);
        const unread = files.filter((file) => this.digests.get(file.path)?.stamp !== stampOf(file));
        const isEarly = hasTree && unread.length <= 1000 && unread.reduce((sum, file) => sum + file.size, 0) <= PAGE_BYTES;
        const entries = [];
        const all = [];
        if (isEarly) {
            const offered = [];
            for (const file of files) {
                const digest = await this.#digest(file);
                if (digest !== null)
                    offered.push([file.path, digest]);
            }
            if (!(await this.#page([], false, { digest: await this.#tree(offered), files: offered.length })))
                return;
        }
        let size = 0;
        let read = 0;
        for (const file of files) {
            read += this.digests.get(file.path)?.stamp === stampOf(file) ? 0 : file.size;
            const digest = await this.#digest(file);
            if (digest === null)
                continue;
            const entry = {
                path: file.path,
                size_bytes: file.size,
                sha256: digest,
                modified_ms: Math.max(0, Math.trunc(file.modifiedMs)),
            };
            size += bytesOf(entry) + 1;
            if (entries.length > 0 && (size > this.#frameBytes || entries.length === MAX_ENTRIES || read > PAGE_BYTES)) {
                if (!(await this.#page(entries.splice(0), false)))
                    return;
                size = bytesOf(entry) + 1;
                read = 0;
            }
            entries.push(entry);
            all.push(entry);
        }
        const late = hasTree && !isEarly
            ? { digest: await this.#tree(all.map((one) => [one.path, one.sha256])), files: all.length }
            : undefined;
        await this.#page(entries, true, late);
    }
    /** Send a frame of the manifest, once the hub asks for it; false: it needs no more. */
    async #page(files, last, tree) {
        if (this.frame.paged) {
            await this.#until(() => this.#pages > 0);
            this.#pages -= 1;
            if (this.#hasLastFetch)
                return false;
        }
        if (this.#isOver)
            throw new Cancelled();
        this.send({
            type: "agent_manifest",
            ...this.#run,
            seq: this.#seq++,
            files: [...files],
            last,
            ...(tree ? { tree } : {}),
        });
        return true;
    }
    async #tree(files) {
        const said = ["typescript 1", ...(this.frame.reads ?? []), ...files.map(([path, digest]) => `${path}\0${digest}`)];
        return sha256(new TextEncoder().encode(said.join("\n")));
    }
    async #digest(file) {
        const known = this.digests.get(file.path);
        if (known?.stamp === stampOf(file))
            return known.sha256;
        const bytes = await this.#read(file);
        if (bytes === null)
            return null;
        const digest = await sha256(bytes);
        // a file of just now may be written again without another time
        if (Date.now() - file.modifiedMs > 2000)
            this.digests.set(file.path, { stamp: stampOf(file), sha256: digest });
        return digest;
    }
    async #read(file) {
        if (this.#isOver)
            throw new Cancelled();
        try {
            return await this.files.read(file.path);
        }
        catch (error) {
            this.#skip(file.path, error instanceof Unreadable ? error.reason : "unreadable");
            return null;
        }
    }
    async #sendRequested(offered) {
        for (;;) {
            for (const path of this.#requested.splice(0)) {
                const file = offered.get(path);
                if (file === undefined)
                    this.#skip(path, "not_offered");
                else
                    await this.#sendFile(file);
            }
            if (this.#hasLastFetch && this.#requested.length === 0)
                return;
            await this.#until(() => this.#requested.length > 0 || this.#hasLastFetch);
        }
    }
    async #sendFile(file) {
        const bytes = await this.#read(file);
        if (bytes === null)
            return;
        const ending = endingOf(file.path);
        const kind = MEDIA_TYPES[ending] ?? "text/plain";
        const isText = kind.startsWith("text/");
        let text;
        try {
            if (!isText && !this.frame.reads?.includes(kind))
                throw new Unreadable("not_convertible");
            text = isText ? textOf(bytes) : toBase64(bytes);
        }
        catch (error) {
            if (!(error instanceof Unreadable))
                throw error;
            return this.#skip(file.path, error.reason);
        }
        const pieces = cut(text, this.#pieceBytes, this.#frameBytes - bytesOf(file.path));
        const told = {
            path: file.path,
            sha256: await sha256(bytes),
            pieces: pieces.length,
            modified_ms: Math.max(0, Math.trunc(file.modifiedMs)),
            ...(RAW.has(ending) ? {} : { media_type: kind }),
            ...(isText ? {} : { encoding: "base64" }),
        };
        for (const [piece, content] of pieces.entries())
            await this.#sendPiece({ ...told, content, piece });
        this.#sent += 1;
    }
    async #sendPiece(piece) {
        await this.#until(() => this.#credit > 0);
        this.#credit -= 1;
        this.send({ type: "agent_data", ...this.#run, seq: this.#seq++, files: [piece] });
    }
    async #until(isSo) {
        while (!this.#isOver && !isSo())
            await new Promise((resolve) => (this.#wake = resolve));
        if (this.#isOver)
            throw new Cancelled();
    }
    #skip(path, reason) {
        if (this.#skipped.has(path))
            return;
        if (this.#skipped.size < MAX_SKIPPED && path.length <= 1024)
            this.#skipped.set(path, { path, reason });
        else
            this.#count(reason);
    }
    #count(reason) {
        this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
    }
}
const endingOf = (path) => path.slice(path.lastIndexOf(".") + 1).toLowerCase();
const whyPrivatePath = (path) => path
    .split("/")
    .slice(1)
    .map(whyPrivate)
    .find((why) => why !== null) ?? null;
/** Answer to `files.list` and `files.read`: files of the roots that the owner grants, which a run would send too. */
export async function answerFiles(call, files, granted) {
    const asked = call.data ?? {};
    const path = String(asked["path"] ?? "");
    const isPlain = path.split(/[/\\]/).every((part) => !["", ".", "..", "~"].includes(part));
    if (!isPlain || !granted.includes(path.split("/")[0] ?? "")) {
        return { error: { code: "not_granted", message: `the owner of this device does not grant 'files.read' of ${path}` } };
    }
    try {
        const isText = (one) => !RAW.has(endingOf(one)) && (MEDIA_TYPES[endingOf(one)] ?? "text/").startsWith("text/");
        const listed = (await files.list())
            .filter((file) => isBelow(file.path, path) && whyPrivatePath(file.path) === null)
            .filter((file) => isText(file.path) && file.size <= MAX_FILE_BYTES)
            .sort((one, other) => (one.path < other.path ? -1 : 1));
        if (call.action === "files.list")
            return { result: page(listed, String(asked["after"] ?? ""), call.limit ?? 50) };
        const file = listed.find((one) => one.path === path);
        if (file === undefined)
            throw new Unreadable("no file is offered under this path");
        const bytes = await files.read(path);
        const text = textOf(bytes);
        const about = { path, sha256: await sha256(bytes), media_type: MEDIA_TYPES[endingOf(path)] ?? "text/plain" };
        const modified_ms = Math.max(0, Math.trunc(file.modifiedMs));
        return { result: { ...about, modified_ms, hidden: 0, ...excerpt(text, asked) } };
    }
    catch (error) {
        const isRefusal = error instanceof Unreadable || error instanceof Refusal;
        const code = error instanceof Refusal ? error.code : isRefusal ? "unknown_file" : "device_error";
        return { error: { code, message: `${path}: ${error instanceof Error ? error.message : String(error)}` } };
    }
}
function page(listed, after, limit) {
    const found = [];
    let size = 0;
    for (const file of listed.filter((one) => one.path > after)) {
        const entry = { path: file.path, size_bytes: file.size, modified_ms: Math.max(0, Math.trunc(file.modifiedMs)) };
        size += bytesOf(entry) + 1;
        if (found.length >= Math.min(limit, 1000) || size > PART_BYTES)
            return { files: found, more: true };
        found.push(entry);
    }
    return { files: found, more: false };
}
/** Part of a text from `offset` on, in code points, or from `line` on. */
function excerpt(text, asked) {
    const points = [...text];
    const lines = text.split("\n");
    const first = asked["line"] ?? 1;
    const most = asked["lines"] ?? 10_000;
    if (!Number.isInteger(first) || Number(first) < 1 || !Number.isInteger(most) || Number(most) < 1)
        throw new Refusal("bad_params", "line and lines are numbers from 1 on");
    const before = lines.slice(0, Number(first) - 1);
    const offset = Math.min(Number(asked["offset"] || [...before.join("\n")].length + (before.length > 0 ? 1 : 0)), points.length);
    let end = offset;
    for (let left = Number(most); left > 0 && end < points.length; end += 1)
        if (points[end] === "\n")
            left -= 1;
    const [content = ""] = cut(points.slice(offset, Math.min(end, offset + PART_BYTES)).join(""), PART_BYTES, PART_BYTES);
    const next = offset + [...content].length;
    const line = points.slice(0, offset).filter((one) => one === "\n").length + 1;
    const rest = next < points.length ? { next_offset: next } : { next_offset: null };
    return { content, offset, line, lines: lines.length, characters: points.length, ...rest };
}
const stampOf = (file) => `${file.size} ${file.modifiedMs}`;
const isBelow = (path, place) => place === "" || path === place || path.startsWith(`${place}/`);
/** Places on the wire that a path of an agent's settings names: in each root that has it. */
export function placesIn(path, roots) {
    const found = new Set();
    for (const { name, spellings } of roots) {
        if (/^[~/]|^[A-Za-z]:/.test(path)) {
            for (const spelled of spellings) {
                const [asked, base] = [parts(path), parts(spelled)];
                if (base.every((part, at) => asked[at] === part))
                    found.add([name, ...asked.slice(base.length)].join("/"));
            }
        }
        else {
            const [first, ...others] = parts(path);
            if (first === name)
                found.add([name, ...others].join("/"));
            else if (first === undefined)
                found.add(name);
            else if (first !== ".." && !roots.some((root) => root.name === first))
                found.add([name, first, ...others].join("/"));
        }
    }
    return [...found];
}
/** Parts of a path, without `.` and with `..` resolved where there is a part before it. */
function parts(path) {
    const found = [];
    for (const part of path.replaceAll("\\", "/").split("/")) {
        if (part === ".." && found.length > 0 && found.at(-1) !== "..")
            found.pop();
        else if (part !== "" && part !== ".")
            found.push(part);
    }
    return found;
}
function textOf(bytes) {
    let text;
    try {
        text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    }
    catch {
        throw new Unreadable("not_convertible");
    }
    if (text.includes("\0"))
        throw new Unreadable("not_convertible");
    if (PRIVATE_KEY.test(text))
        throw new Unreadable("key_in_text");
    return text;
}
/** Cut a text into pieces of so many bytes, and of so many as JSON, between two code points. */
export function cut(text, pieceBytes, escapedBytes) {
    const pieces = [];
    for (let start = 0; start < text.length;) {
        let width = pieceBytes;
        for (;;) {
            const last = text.charCodeAt(start + width - 1);
            const end = start + width < text.length && last >= 0xd800 && last < 0xdc00 ? width + 1 : width;
            const piece = text.slice(start, start + end);
            if (new TextEncoder().encode(piece).length <= pieceBytes && bytesOf(piece) <= escapedBytes) {
                pieces.push(piece);
                start += piece.length;
                break;
            }
            if (width <= 1)
                throw new Unreadable("too_deep");
            width = Math.max(1, Math.floor((Math.min(width, piece.length) * 3) / 4));
        }
    }
    return pieces.length > 0 ? pieces : [""];
}
