// What a page reads from the hub: shown at once where it was read before, and read again when it changes.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Kind, isSignedOut, onChange } from "./live";
import { type Answer, type Path, type Query, Refusal, address, answered } from "./server";

export interface Reading<T> {
  readonly data: T | undefined;
  readonly tag: string | null;
  readonly refusal: Refusal | null;
  readonly again: () => void;
}
interface Known {
  readonly data: unknown;
  readonly tag: string | null;
  /** Number of the request; of two answers, that of the later request is the newer one. */
  readonly request: number;
}
interface Options<P extends Path<"get">> {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Query<"get", P>;
  /** Kinds of things whose changes are changes of this, too. */
  readonly kinds?: readonly Kind[];
  /** False: it is not read now. */
  readonly when?: boolean;
  /** Milliseconds after which it is read again: for what changes without an event. */
  readonly every?: number;
}

const MAX_KNOWN = 40;
const REST_MS = 500; // between two readings of the same, however often it changes
const AGAIN_MS = 3_000; // until what the hub did not answer is read again
const SAME_MS = 50; // in which components that read the same address share one request
const known = new Map<string, Known>();
const begun = new Map<string, Promise<Known>>(); // by address; for SAME_MS
let requests = 0; // of all readings, since several components may read the same address

export function useReading<P extends Path<"get">>(path: P, options: Options<P> = {}): Reading<Answer<"get", P>> {
  const { params = {}, query, kinds = [], when = true, every } = options;
  const url = address(path, params, query);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [, setTurn] = useState(0);
  const newest = useRef(0);
  const retry = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);

  async function request(): Promise<Known> {
    const request = (requests += 1);
    const { body, tag } = await answered("get", path, { params, ...(query && { query }) });
    return { data: body, tag, request };
  }

  /** *isAlone*: after a change, which a request that has begun may not show. */
  async function read(isAlone = false): Promise<void> {
    clearTimeout(retry.current);
    newest.current += 1;
    const mine = newest.current;
    try {
      remember(url, await ((!isAlone && begun.get(url)) || begin(url, request())));
      if (mine === newest.current) setRefusal(null);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.status === 401) isSignedOut.value = true;
      if (mine === newest.current) {
        // What was read before stays while the hub is away.
        if (error.status !== 0) setRefusal(error);
        else retry.current = setTimeout(() => void read(), AGAIN_MS);
      }
    }
    setTurn((turn) => turn + 1);
  }

  // At once: a page that was left reads nothing any more.
  useLayoutEffect(() => {
    if (!when) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    setRefusal(null);
    void read();
    const stop = onChange((changes) => {
      if (changes === "now") return void ((kinds.length > 0 || every) && read(true));
      if (changes !== "all" && !changes.some((change) => kinds.includes(change.kind))) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        void read();
      }, REST_MS);
    });
    const clock = every === undefined ? undefined : setInterval(() => document.hidden || void read(), every);
    return () => {
      newest.current += 1;
      clearInterval(clock);
      clearTimeout(timer);
      clearTimeout(retry.current);
      stop();
    };
  }, [url, when]);

  const found = known.get(url);
  return {
    data: found?.data as Answer<"get", P> | undefined,
    tag: found?.tag ?? null,
    refusal,
    again: () => void read(true),
  };
}

/** Show the answer to a change as the newest of a reading. */
export function learn<P extends Path<"get">>(path: P, params: Readonly<Record<string, string>>, data: Answer<"get", P>): void {
  remember(address(path, params), { data, tag: null, request: (requests += 1) });
}

/** Return a reading that shows what was read last while another address is read, as a later time of the same. */
export function useKept<T>(reading: Reading<T>): Reading<T> {
  const last = useRef(reading.data);
  if (reading.data !== undefined) last.current = reading.data;
  return { ...reading, data: last.current };
}

function begin(url: string, answer: Promise<Known>): Promise<Known> {
  begun.set(url, answer);
  setTimeout(() => begun.get(url) === answer && begun.delete(url), SAME_MS);
  return answer;
}

function remember(url: string, reading: Known): void {
  if ((known.get(url)?.request ?? 0) > reading.request) return; // it was overtaken on its way
  known.delete(url);
  known.set(url, reading);
  const [oldest] = known.keys();
  if (known.size > MAX_KNOWN && oldest !== undefined) known.delete(oldest);
}
