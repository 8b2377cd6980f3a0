// What the plug-in uses of Obsidian's API; Obsidian itself brings the module.
declare module "obsidian" {
  export interface TAbstractFile {
    readonly path: string;
  }
  export class TFile implements TAbstractFile {
    readonly path: string;
    readonly extension: string;
    readonly stat: { readonly size: number; readonly mtime: number };
  }
  export interface Vault {
    getName(): string;
    getFiles(): TFile[];
    getFileByPath(path: string): TFile | null;
    readBinary(file: TFile): Promise<ArrayBuffer>;
    cachedRead(file: TFile): Promise<string>;
    process(file: TFile, change: (text: string) => string): Promise<string>;
    on(name: "modify", callback: (file: TAbstractFile) => void): object;
  }
  export interface App {
    readonly vault: Vault;
    readonly workspace: { getActiveFile(): TFile | null };
  }
  export class Plugin {
    readonly app: App;
    addCommand(command: { id: string; name: string; callback: () => void }): void;
    addSettingTab(tab: PluginSettingTab): void;
    addStatusBarItem(): HTMLElement;
    registerEvent(event: object): void;
    loadData(): Promise<unknown>;
    saveData(data: unknown): Promise<void>;
  }
  export class PluginSettingTab {
    readonly containerEl: HTMLElement;
    constructor(app: App, plugin: Plugin);
  }
  export class Setting {
    constructor(containerEl: HTMLElement);
    setName(name: string): this;
    setDesc(text: string): this;
    addText(
      change: (text: { setValue(value: string): { onChange(changed: (value: string) => void): void } }) => void,
    ): this;
  }
  export class Notice {
    constructor(message: string, duration?: number);
  }
}
