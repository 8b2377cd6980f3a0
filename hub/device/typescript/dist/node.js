// What a device of Node keeps on its disk and shares from it.
import { constants } from "node:fs";
import { mkdir, open, readFile, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve, sep } from "node:path";
import { Unreadable, whyPrivate } from "./files.js";
const HEAD = '{"device-hub":1}\n';
const COMPACT_BYTES = 1024 * 1024;
/**
 * Store in one file: a line of JSON for each change, appended and synchronized before it counts, and written anew when
 * most of its lines are out of date. A line that a crash cut off is dropped: nothing of it was answered.
 */
export class FileStore {
    #path;
    #entries = new Map();
    #file = null;
    #size = 0; // bytes of whole lines
    #compactAt = COMPACT_BYTES;
    constructor(path) {
        this.#path = resolve(path);
    }
    async load() {
        await mkdir(dirname(this.#path), { recursive: true });
        await this.#lock();
        const bytes = await readFile(this.#path).catch(missing);
        if (bytes === null || bytes.length < HEAD.length)
            await this.#rewrite();
        else {
            this.#read(bytes);
            this.#file = await open(this.#path, "r+");
            await this.#file.truncate(this.#size);
        }
        return this.#entries;
    }
    async write(entries) {
        const file = this.#file;
        if (file === null)
            throw new Error(`${this.#path} is not open, or failed before: open the device again`);
        const line = Buffer.from(`${JSON.stringify([...entries])}\n`);
        try {
            await writeAll(file, line, this.#size);
            await file.datasync();
        }
        catch (error) {
            // what is on the disk is not known: unless it can be cut off, nothing may follow it
            await file.truncate(this.#size).catch(() => (this.#file = null));
            throw error;
        }
        this.#size += line.length;
        put(this.#entries, entries);
        if (this.#size > this.#compactAt)
            await this.#rewrite();
    }
    async close() {
        await this.#file?.close();
        this.#file = null;
        await rm(this.#lockPath, { force: true });
    }
    get #lockPath() {
        return `${this.#path}.lock`;
    }
    /** Refuse to serve a file that another process serves. The lock of a process that was killed does not count. */
    async #lock() {
        for (let tries = 0;; tries += 1) {
            const lock = await open(this.#lockPath, "wx", 0o600).catch(() => null);
            if (lock !== null) {
                await lock.writeFile(await nameOf(process.pid));
                return lock.close();
            }
            const holder = await readFile(this.#lockPath, "utf8").catch(() => "");
            const pid = parseInt(holder, 10);
            if (tries > 2 || (pid !== process.pid && isRunning(pid) && holder === (await nameOf(pid)))) {
                throw new Error(`process ${pid} uses ${this.#path}; end it first, or remove ${this.#lockPath} if it is no device`);
            }
            await rm(this.#lockPath, { force: true });
        }
    }
    #read(bytes) {
        if (bytes.toString("utf8", 0, HEAD.length) !== HEAD)
            throw new Error(`${this.#path} is no store of a device, or of a newer version`);
        this.#size = HEAD.length;
        for (let end; (end = bytes.indexOf(10, this.#size)) !== -1; this.#size = end + 1) {
            try {
                put(this.#entries, new Map(JSON.parse(bytes.toString("utf8", this.#size, end))));
            }
            catch (error) {
                if (bytes.indexOf(10, end + 1) === -1)
                    return; // the last one: a crash cut it off
                throw new Error(`${this.#path} is damaged at byte ${this.#size}: put a copy of it back`, { cause: error });
            }
        }
    }
    async #rewrite() {
        const fresh = `${this.#path}.new`;
        const lines = [...this.#entries].map((entry) => `${JSON.stringify([entry])}\n`);
        const bytes = Buffer.from(HEAD + lines.join(""));
        const file = await open(fresh, "w", 0o600);
        await writeAll(file, bytes, 0);
        await file.sync();
        await rename(fresh, this.#path);
        const folder = await open(dirname(this.#path), "r");
        await folder.sync().finally(() => folder.close());
        await this.#file?.close();
        this.#file = file;
        this.#size = bytes.length;
        this.#compactAt = Math.max(COMPACT_BYTES, 4 * bytes.length);
    }
}
async function writeAll(file, bytes, position) {
    for (let done = 0; done < bytes.length;) {
        done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
}
function put(entries, changes) {
    for (const [key, value] of changes) {
        if (value === null)
            entries.delete(key);
        else
            entries.set(key, value);
    }
}
/** The id of a process, and where the system tells it the time of its start: ids come again after a restart. */
async function nameOf(pid) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    return `${pid} ${stat.slice(stat.lastIndexOf(")")).split(" ")[20] ?? ""}\n`;
}
function isRunning(pid) {
    try {
        return pid > 0 && process.kill(pid, 0);
    }
    catch (error) {
        return error.code === "EPERM";
    }
}
function missing(error) {
    if (error.code === "ENOENT")
        return null;
    throw error;
}
/**
 * Folders of this machine: a list, each called by its own name, or by names of your choice. The hub knows files by
 * these names, so keep them. Links are not followed.
 */
export class Folders {
    #folders = new Map();
    constructor(folders) {
        const named = Array.isArray(folders)
            ? folders.map((one) => [basename(resolve(one)), one])
            : Object.entries(folders);
        for (const [name, folder] of named) {
            if (this.#folders.has(name))
                throw new TypeError(`two folders are called ${name}: name them, as { first: "/a/${name}", … }`);
            if (name === "" || name.includes("/"))
                throw new TypeError(`${JSON.stringify(name)} is no name of a folder`);
            this.#folders.set(name, resolve(folder));
        }
    }
    async roots() {
        const home = homedir();
        const found = [...this.#folders].map(async ([name, folder]) => {
            const real = await realpath(folder).catch(() => folder);
            const spellings = [folder, real].flatMap((one) => one.startsWith(home + sep) ? [`~${one.slice(home.length)}`, one] : [one]);
            return { name, spellings: [...new Set(spellings)] };
        });
        return Promise.all(found);
    }
    async list() {
        const found = [];
        for (const [name, folder] of this.#folders)
            await walk(folder, name, found);
        return found;
    }
    async read(path) {
        const [name = "", ...parts] = path.split("/");
        const folder = this.#folders.get(name);
        if (folder === undefined || parts.includes(".."))
            throw new Unreadable("outside_shared");
        const at = join(folder, ...parts);
        const file = await open(at, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error) => {
            throw new Unreadable(error.code === "ENOENT" ? "changed" : error.code === "ELOOP" ? "symlink" : "unreadable");
        });
        try {
            const before = await file.stat();
            if (!before.isFile())
                throw new Unreadable("not_a_file");
            // the opened file is the one inside of the folder, though a folder above it may be replaced by a link just now
            const [real, root] = await Promise.all([realpath(at), realpath(folder)]);
            const there = await stat(real);
            if (!real.startsWith(root + sep) || there.ino !== before.ino || there.dev !== before.dev)
                throw new Unreadable("symlink");
            const bytes = await file.readFile();
            const after = await file.stat();
            if (after.size !== bytes.length || after.mtimeMs !== before.mtimeMs || after.size !== before.size)
                throw new Unreadable("changed");
            return bytes;
        }
        finally {
            await file.close();
        }
    }
}
async function walk(folder, path, found) {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
        const [at, below] = [join(folder, entry.name), `${path}/${entry.name}`];
        if (entry.isDirectory() && whyPrivate(entry.name) === null)
            await walk(at, below, found);
        if (!entry.isFile())
            continue;
        const info = await stat(at).catch(() => null);
        if (info !== null)
            found.push({ path: below, size: info.size, modifiedMs: info.mtimeMs });
    }
}
