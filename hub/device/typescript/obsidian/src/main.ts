// Plug-in of Obsidian: the vault is what is shared, and suggestions are lines of the notes that they were found in.
import {
  Notice,
  Plugin,
  PluginSettingTab,
  Setting,
  type App,
  type TAbstractFile,
  type TFile,
  type Vault,
} from "obsidian";
import { BrowserStore } from "../../dist/browser.js";
import { Device, Unreadable, type Files, type Item, type Root, type SharedFile, type Store } from "../../dist/index.js";
import { VERSION } from "../../dist/protocol.js";
import { decisions, renewed, stripped, withItem, withoutItem } from "./notes.js";

type Settings = { readonly url: string; readonly name: string };

/**
 * Files of a vault, as the hub reads them: without the lines of suggestions.
 *
 * @param marked gives the paths of notes that may have such lines, whose length differs from that of their files.
 */
export class VaultFiles implements Files {
  constructor(
    private readonly vault: Vault,
    private readonly marked: () => ReadonlySet<string>,
  ) {}

  async roots(): Promise<readonly Root[]> {
    const name = this.vault.getName();
    return [{ name, spellings: [`~/${name}`] }];
  }

  async list(): Promise<readonly SharedFile[]> {
    const marked = this.marked();
    const listed = this.vault.getFiles().map(async (file) => {
      const path = `${this.vault.getName()}/${file.path}`;
      const size = marked.has(path) ? (await this.#note(file)).length : file.stat.size;
      return { path, size, modifiedMs: file.stat.mtime };
    });
    return Promise.all(listed);
  }

  async read(path: string): Promise<Uint8Array> {
    const file = this.vault.getFileByPath(path.slice(this.vault.getName().length + 1));
    if (file === null) throw new Unreadable("changed");
    return file.extension === "md" ? this.#note(file) : new Uint8Array(await this.vault.readBinary(file));
  }

  async #note(file: TFile): Promise<Uint8Array> {
    return new TextEncoder().encode(stripped(await this.vault.cachedRead(file)));
  }
}

export default class HubPlugin extends Plugin {
  device: Device | null = null;
  settings: Settings = { url: "", name: "obsidian" };
  #status: HTMLElement | null = null;
  #deciding: Promise<void> = Promise.resolve();

  async onload(): Promise<void> {
    this.settings = { ...this.settings, ...((await this.loadData()) as Partial<Settings> | null) };
    this.#status = this.addStatusBarItem();
    this.addSettingTab(new HubSettings(this.app, this));
    this.addCommand({
      id: "approve-note",
      name: "Approve the suggestions of this note",
      callback: () => this.#later(() => this.#decideNote("approve")),
    });
    this.addCommand({
      id: "reject-note",
      name: "Reject the suggestions of this note",
      callback: () => this.#later(() => this.#decideNote("reject")),
    });
    this.registerEvent(this.app.vault.on("modify", (file) => this.#later(() => this.#decided(file))));
    if (this.settings.url !== "") await this.connect();
  }

  onunload(): void {
    void this.device?.close();
  }

  /** Where the device keeps its rows: not in the vault, which may be synchronized to other devices. */
  openStore(): Store {
    return new BrowserStore(`device-hub ${this.app.vault.getName()}`);
  }

  async connect(): Promise<void> {
    await this.device?.close();
    const { url, name } = this.settings;
    const client = { name: "obsidian", version: VERSION };
    const files = new VaultFiles(
      this.app.vault,
      () => new Set(this.device?.items().map((item) => item.source?.path ?? "")),
    );
    const device = new Device({ url, name, client, store: this.openStore(), files });
    this.device = device;
    device.on("connected", ({ address }) => {
      this.#say(`hub: ${address}`);
      for (const item of device.suggestions()) this.#later(() => this.#renew(item));
    });
    device.on("disconnected", () => this.#say("hub: away"));
    device.on("pairing", ({ code }) => new Notice(`Type at the hub: hub pair approve ${code}`, 0));
    device.on("closed", ({ reason }) => this.#say(`hub: ${reason}`));
    device.on("suggestion", (item) => void this.#show(item));
    device.on("withdrawn", ({ id }) => void this.#remove(id));
    await device.open();
    device.connect().catch((error: Error) => new Notice(error.message, 0));
  }

  #say(text: string): void {
    if (this.#status !== null) this.#status.textContent = text;
  }

  #noteOf(item: Item): TFile | null {
    const path = item.source?.path ?? "";
    const file = this.app.vault.getFileByPath(path.slice(this.app.vault.getName().length + 1));
    return file?.extension === "md" ? file : null;
  }

  async #show(item: Item): Promise<void> {
    const note = this.#noteOf(item);
    if (note === null) return;
    await this.app.vault.process(note, (text) => withItem(text, item));
  }

  async #renew(item: Item): Promise<void> {
    const note = this.#noteOf(item);
    if (note !== null) await this.app.vault.process(note, (text) => renewed(text, item));
  }

  async #remove(id: string): Promise<void> {
    for (const note of this.app.vault.getFiles().filter((file) => file.extension === "md")) {
      if (!(await this.app.vault.cachedRead(note)).includes(`%%hub:${id}%%`)) continue;
      await this.app.vault.process(note, (text) => withoutItem(text, id));
    }
  }

  /** Do it after what was begun before: a note changes again while its decisions are written. */
  #later(work: () => Promise<void>): void {
    this.#deciding = this.#deciding.then(work).catch((error: Error) => void new Notice(error.message));
  }

  /** Report what the owner decided by writing in a note. */
  async #decided(changed: TAbstractFile): Promise<void> {
    const { device } = this;
    const note = this.app.vault.getFileByPath(changed.path);
    if (device === null || note?.extension !== "md") return;
    const waiting = new Map(device.suggestions().map((item) => [item.id, item]));
    for (const { id, verdict, fields } of decisions(await this.app.vault.cachedRead(note), waiting)) {
      try {
        await (verdict === "approve" ? device.approve(id, fields) : device.reject(id));
      } catch (error) {
        new Notice((error as Error).message);
      }
      const left = device.items().find((item) => item.id === id);
      await this.app.vault.process(note, (text) =>
        left === undefined ? withoutItem(text, id) : withItem(text, left, "title" in fields),
      );
    }
  }

  async #decideNote(verdict: "approve" | "reject"): Promise<void> {
    const note = this.app.workspace.getActiveFile();
    const items = (this.device?.suggestions() ?? []).filter(
      (item) => note !== null && this.#noteOf(item)?.path === note.path,
    );
    for (const { id } of items) {
      await this.device?.[verdict](id);
      const left = this.device?.items().find((item) => item.id === id);
      if (left === undefined) await this.#remove(id);
      else await this.#show(left);
    }
    new Notice(`${items.length} suggestions: ${verdict === "approve" ? "approved" : "rejected"}`);
  }
}

class HubSettings extends PluginSettingTab {
  constructor(
    app: App,
    private readonly plugin: HubPlugin,
  ) {
    super(app, plugin);
  }

  display(): void {
    this.containerEl.replaceChildren();
    this.#text(
      "url",
      "Address of the hub",
      "wss://hub.example; the hub lists app://obsidian.md in origins of [listen.devices]",
    );
    this.#text("name", "Name of this device", "as the hub shows it; agents name it as their device");
  }

  #text(key: keyof Settings, name: string, about: string): void {
    const setting = new Setting(this.containerEl).setName(name).setDesc(about);
    setting.addText((text) =>
      text.setValue(this.plugin.settings[key]).onChange((value) => {
        this.plugin.settings = { ...this.plugin.settings, [key]: value.trim() };
        void this.plugin.saveData(this.plugin.settings);
      }),
    );
  }
}
