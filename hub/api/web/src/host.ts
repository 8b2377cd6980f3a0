// The program that shows this page in a frame: JSON-RPC in messages of the window (MCP Apps, 2026-01-26).
import { carrier } from "./server";

interface Message {
  readonly jsonrpc: "2.0";
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: never;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}
export interface ToolResult {
  readonly content?: readonly { readonly text?: string }[];
  readonly structuredContent?: unknown;
  readonly isError?: boolean;
  readonly _meta?: Readonly<Record<string, unknown>>;
}

const NO_METHOD = -32_601;
const ANSWERED: readonly string[] = ["ping", "ui/resource-teardown"]; // by an empty result
const waiting = new Map<number | string, (message: Message) => void>();
let last = 0;

/** The frame knows no origin of the program: what is sent is what the program has already. */
function post(message: object): void {
  parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}

export function notify(method: string, params: object): void {
  post({ method, params });
}

/** Send a request to the program; raise Error if it refuses. */
export function request<T>(method: string, params: object): Promise<T> {
  last += 1;
  const id = last;
  return new Promise((resolve, reject) => {
    waiting.set(id, ({ result, error }) => (error ? reject(new Error(error.message)) : resolve(result as T)));
    post({ id, method, params });
  });
}

/** Handle the notifications of the program, and no message of others. */
export function listen(handlers: Readonly<Record<string, (params: never) => void>>): void {
  addEventListener("message", ({ source, data }: MessageEvent<Message | undefined>) => {
    if (source !== parent || data?.jsonrpc !== "2.0") return;
    const { id, method, params } = data;
    if (method === undefined) {
      if (id === undefined) return;
      waiting.get(id)?.(data);
      waiting.delete(id);
    } else if (id === undefined) handlers[method]?.(params as never);
    else post(ANSWERED.includes(method) ? { id, result: {} } : { id, error: { code: NO_METHOD, message: method } });
  });
}

/** Return the object that a tool has returned, or the problem that it names; a program may leave either out. */
export function contentOf({ content, structuredContent: structured, isError }: ToolResult): { readonly isOk: boolean; readonly body: unknown } {
  const text = content?.at(-1)?.text ?? "The program of the assistant returned no result of the hub.";
  try {
    return { isOk: !isError, body: structured ?? JSON.parse(text) };
  } catch {
    return { isOk: false, body: { code: "refused", detail: text } };
  }
}

/** Send requests about items as calls of the tools of their routes. */
export function askByTools(): void {
  carrier.fetch = async (url, { method, body }) => {
    const [, , , id = "", part] = url.split("/").map(decodeURIComponent);
    const posted = id === "verdicts" ? "items_give" : "proposals_propose";
    const name = method === "POST" ? posted : part ? "items_choices" : "items_get";
    const given: unknown = method === "POST" ? JSON.parse(String(body)) : { item_id: id };
    try {
      const result = await request<ToolResult>("tools/call", { name, arguments: given });
      const { isOk, body: content } = contentOf(result);
      return isOk ? answer(200, content) : answer(400, { ...(content as object), hint: "" }); // a hint is for assistants
    } catch (error) {
      return answer(502, { code: "refused", detail: `The program of the assistant did not do it: ${String(error)}`, hint: "" });
    }
  };
}

function answer(status: number, content: unknown): Response {
  return new Response(JSON.stringify(content), { status, headers: { "content-type": "application/json" } });
}
