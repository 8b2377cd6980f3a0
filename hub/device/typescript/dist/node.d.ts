import { type Files, type Root, type SharedFile } from "./files.js";
import type { Entries, Store } from "./store.js";
/**
 * Store in one file: a line of JSON for each change, appended and synchronized before it counts, and written anew when
 * most of its lines are out of date. A line that a crash cut off is dropped: nothing of it was answered.
 */
export declare class FileStore implements Store {
    #private;
    constructor(path: string);
    load(): Promise<Iterable<readonly [string, unknown]>>;
    write(entries: Entries): Promise<void>;
    close(): Promise<void>;
}
/**
 * Folders of this machine: a list, each called by its own name, or by names of your choice. The hub knows files by
 * these names, so keep them. Links are not followed.
 */
export declare class Folders implements Files {
    #private;
    constructor(folders: readonly string[] | Readonly<Record<string, string>>);
    roots(): Promise<readonly Root[]>;
    list(): Promise<readonly SharedFile[]>;
    read(path: string): Promise<Uint8Array>;
}
