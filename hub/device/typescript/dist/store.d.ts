/** Changes by key; null deletes an entry. Values are plain JSON. */
export type Entries = ReadonlyMap<string, unknown>;
/**
 * Store of a device: entries by key.
 *
 * `write` writes all entries or none. Once its promise is fulfilled they outlive a crash and a power failure: the
 * device answers a call only then, which is what makes an insert happen exactly once. One device uses a store at a
 * time, and calls `write` again only after the last one has ended.
 */
export interface Store {
    load(): Promise<Iterable<readonly [string, unknown]>>;
    write(entries: Entries): Promise<void>;
    close?(): Promise<void>;
}
/** Store that lasts as long as its object: for tests, and for devices whose hub sends everything again. */
export declare class MemoryStore implements Store {
    #private;
    load(): Promise<Iterable<readonly [string, unknown]>>;
    write(entries: Entries): Promise<void>;
}
