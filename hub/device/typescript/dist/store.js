// Where a device keeps its rows, answers and keys. `device-hub/node` has one on the disk.
/** Store that lasts as long as its object: for tests, and for devices whose hub sends everything again. */
export class MemoryStore {
    #entries = new Map();
    async load() {
        return [...this.#entries].map(([key, value]) => [key, JSON.parse(value)]);
    }
    async write(entries) {
        for (const [key, value] of entries) {
            if (value === null)
                this.#entries.delete(key);
            else
                this.#entries.set(key, JSON.stringify(value));
        }
    }
}
