import type { Entries, Store } from "./store.js";
/** Store in a database of the page's origin. One device uses it at a time: another page of it has to wait. */
export declare class BrowserStore implements Store {
    #private;
    constructor(name: string);
    load(): Promise<Iterable<readonly [string, unknown]>>;
    write(entries: Entries): Promise<void>;
    close(): Promise<void>;
}
