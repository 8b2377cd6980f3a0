// Where a device of a browser, or of an application with its pages, keeps its rows: in IndexedDB.
import type { Entries, Store } from "./store.js";

const OBJECTS = "entries";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB failed"));
  });
}

/** Store in a database of the page's origin. One device uses it at a time: another page of it has to wait. */
export class BrowserStore implements Store {
  readonly #name: string;
  #database: IDBDatabase | null = null;
  #release: () => void = () => undefined;

  constructor(name: string) {
    this.#name = name;
  }

  async load(): Promise<Iterable<readonly [string, unknown]>> {
    await this.#lock();
    const opening = indexedDB.open(this.#name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(OBJECTS);
    const database = (this.#database = await done(opening));
    const objects = database.transaction(OBJECTS).objectStore(OBJECTS);
    const [keys, values] = await Promise.all([done(objects.getAllKeys()), done(objects.getAll())]);
    return keys.map((key, at) => [String(key), values[at] as unknown] as const);
  }

  async write(entries: Entries): Promise<void> {
    if (this.#database === null) throw new Error(`${this.#name} is not open`);
    const transaction = this.#database.transaction(OBJECTS, "readwrite", { durability: "strict" });
    const objects = transaction.objectStore(OBJECTS);
    for (const [key, value] of entries) {
      if (value === null) objects.delete(key);
      else objects.put(value, key);
    }
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB has no room"));
    });
  }

  async close(): Promise<void> {
    this.#database?.close();
    this.#database = null;
    this.#release();
  }

  /** Wait until no other page uses the store; a page that ends lets it go. */
  async #lock(): Promise<void> {
    if (!("locks" in navigator)) return;
    await new Promise<void>((taken, refused) => {
      const held = new Promise<void>((release) => (this.#release = release));
      navigator.locks.request(`device-hub ${this.#name}`, () => (taken(), held)).catch(refused);
    });
  }
}
