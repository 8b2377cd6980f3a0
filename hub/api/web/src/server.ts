// Requests to the hub. A path that the hub does not have, or a query that it does not take, fails the build.
import type { Delete, Get, Patch, Post, Problem, Put } from "./types";

const MAX_OUTLIVING = 30_000; // bytes of a body; of all such requests together, browsers take 64 KiB

interface Routes {
  get: Get;
  post: Post;
  put: Put;
  patch: Patch;
  delete: Delete;
}
interface Route {
  query: string;
  body: unknown;
  answer: unknown;
}
type Method = keyof Routes;
export type Path<M extends Method> = keyof Routes[M] & string;
type Of<M extends Method, P extends Path<M>> = Routes[M][P] extends Route ? Routes[M][P] : never;
export type Answer<M extends Method, P extends Path<M>> = Of<M, P>["answer"];
export type Query<M extends Method, P extends Path<M>> = {
  readonly [name in Of<M, P>["query"]]?: string | number | boolean | null | undefined;
};
export interface Asked<M extends Method, P extends Path<M>> {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Query<M, P>;
  readonly body?: Of<M, P>["body"];
  readonly match?: string | null;
  /** Signs in; every other request has the cookie of the session. */
  readonly secret?: string;
  /** The same for a request that is sent again, and counts once. */
  readonly key?: string;
  /** It arrives even if the page ends meanwhile; its body is a small one. */
  readonly outlives?: boolean;
}

/** A request that the hub refused, or that did not reach it (status 0). */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly hint: string,
    /** Messages about single fields of what was sent. */
    readonly fields: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
  }
}

/** Return the address of a route with these parameters. */
export function address(
  path: string,
  params: Readonly<Record<string, string>> = {},
  query: Readonly<Record<string, unknown>> = {},
): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") asked.set(name, String(value));
  }
  const text = asked.toString();
  return text ? `${filled}?${text}` : filled;
}

/** Send a request; raise Refusal. */
export async function ask<M extends Method, P extends Path<M>>(
  method: M,
  path: P,
  asked: Asked<M, P> = {},
): Promise<Answer<M, P>> {
  return (await answered(method, path, asked)).body;
}

/** Send a request, and return its answer with the ETag, which a change of what was read shows again. */
export async function answered<M extends Method, P extends Path<M>>(
  method: M,
  path: P,
  asked: Asked<M, P> = {},
): Promise<{ body: Answer<M, P>; tag: string | null }> {
  const headers = new Headers({ accept: "application/json" });
  if (method !== "get") headers.set("x-hub-request", "1");
  if (method === "post") headers.set("idempotency-key", asked.key ?? fresh());
  if (asked.secret) headers.set("authorization", `Bearer ${asked.secret}`);
  if (asked.match) headers.set("if-match", asked.match);
  const options: RequestInit = { method: method.toUpperCase(), headers, cache: "no-store" };
  if (asked.body !== undefined) {
    headers.set("content-type", "application/json");
    options.body = JSON.stringify(asked.body);
    // What is longer would not be sent at all.
    options.keepalive = (asked.outlives ?? false) && options.body.length < MAX_OUTLIVING;
  }
  const response = await reached(address(path, asked.params, asked.query), options);
  if (!response.ok) throw await refusal(response);
  const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
  const body = (isJson ? await response.json() : await response.text()) as Answer<M, P>;
  return { body, tag: response.headers.get("etag") };
}

/** Send a change without waiting for its answer, since the page ends. */
export function leave<P extends Path<"post">>(path: P, body: Of<"post", P>["body"]): void {
  void ask("post", path, { body, outlives: true } as Asked<"post", P>).catch(() => undefined);
}

/** What carries requests; a page that reaches no hub by itself has another one. */
export const carrier: { fetch: (url: string, options: RequestInit) => Promise<Response> } = { fetch: (url, options) => fetch(url, options) };

/** Return a text that no other request has; crypto.randomUUID is for pages over TLS only. */
export function fresh(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

async function reached(url: string, options: RequestInit): Promise<Response> {
  try {
    return await carrier.fetch(url, options);
  } catch {
    throw new Refusal(0, "unreachable", "The hub cannot be reached.", "Is it running? hub status");
  }
}

async function refusal(response: Response): Promise<Refusal> {
  try {
    const problem = (await response.json()) as Problem;
    return new Refusal(response.status, problem.code, problem.detail, problem.hint, problem.fields);
  } catch {
    return new Refusal(response.status, "unknown", `The hub answered with ${response.status}.`, "");
  }
}
