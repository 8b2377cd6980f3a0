// What took time in a run: its states, its files, and of each file its questions to models and its calls.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { brisk, count, money } from "../format";
import { now } from "../live";
import { type Column, Foreign, Read, Section, State, Table } from "../parts";
import { useReading } from "../reading";
import { place } from "../router";
import type { SpanView } from "../types";

const MOST = 200; // spans of a page
const FEW = 30; // spans that are all shown at first
const WIDTH = 1_000;
const GAP = 30; // width of a time without work, however long it was
const LEAST = 4; // width of the shortest bar

type Tone = "rest" | "busy" | "read" | "think" | "bring" | "fail";
type Stretch = readonly [from: number, to: number];
interface Bar {
  readonly stretch: Stretch;
  readonly tone: Tone;
}
interface Row {
  readonly id: string;
  readonly span: SpanView;
  readonly bars: readonly Bar[];
  /** Number of its questions and calls; undefined: it is one. */
  readonly parts?: number;
}

const TONES: readonly (readonly [Tone, string])[] = [
  ["rest", "waits"],
  ["busy", "executes"],
  ["read", "is read"],
  ["think", "asks a model"],
  ["bring", "is delivered"],
  ["fail", "failed"],
];

const at = (time: string): number => Date.parse(time);
const stretchOf = (span: SpanView): Stretch => [at(span.started_at), span.ended_at ? at(span.ended_at) : Math.max(now.value, at(span.started_at))];
const isRest = (span: SpanView): boolean => span.kind === "state" && (span.name === "QUEUED" || span.name === "PAUSED");

/** Return the places of times in the picture. A time in which nothing was worked on is as wide as any other one. */
function scaled(spans: readonly SpanView[]): (time: number) => number {
  const worked = spans.filter((span) => span.kind !== "run" && !isRest(span)).map(stretchOf);
  const whole = spans.map(stretchOf);
  const ends = (of: readonly Stretch[]): Stretch => [Math.min(...of.map(([from]) => from)), Math.max(...of.map(([, to]) => to))];
  const [first, last] = ends(whole);
  const busy: [number, number][] = [];
  for (const [from, to] of [...worked].sort((one, other) => one[0] - other[0])) {
    const before = busy.at(-1);
    if (before && from <= before[1]) before[1] = Math.max(before[1], to);
    else busy.push([from, to]);
  }
  const total = busy.reduce((sum, [from, to]) => sum + to - from, 0) || 1;
  const edges: [time: number, x: number][] = [[first, 0]];
  const go = (to: number, width: number): void => void (to > (edges.at(-1) as Stretch)[0] && edges.push([to, (edges.at(-1) as Stretch)[1] + width]));
  const rest = (to: number): number => Math.min(GAP, ((to - (edges.at(-1) as Stretch)[0]) / total) * WIDTH);
  for (const [from, to] of busy) {
    go(from, rest(from));
    go(to, ((to - from) / total) * WIDTH);
  }
  go(last, rest(last));
  const [, width] = edges.at(-1) as Stretch;
  return (time) => {
    const next = edges.findIndex(([edge]) => edge >= time);
    if (next <= 0) return next < 0 ? WIDTH : 0;
    const [[from, left], [to, right]] = [edges[next - 1] as Stretch, edges[next] as Stretch];
    return ((left + ((time - from) / (to - from)) * (right - left)) / (width || 1)) * WIDTH;
  };
}

function toneOf({ kind, outcome }: SpanView): Tone {
  if (kind === "model") return outcome === "answered" ? "think" : "fail";
  return outcome === "REJECTED" || outcome === "UNKNOWN" ? "fail" : "bring";
}

/** Return the rows: states, then files, each with its parts if it is open. */
function rowsOf(spans: readonly SpanView[], isOpen: (path: string) => boolean): Row[] {
  const states = spans.filter((span) => span.kind === "state");
  const rows: Row[] = states.map((span) => ({ id: span.id, span, bars: [{ stretch: stretchOf(span), tone: isRest(span) ? "rest" : "busy" }] }));
  const units = new Map<string, SpanView[]>();
  for (const span of spans) {
    if (span.kind === "run" || span.kind === "state") continue;
    const path = span.path ?? "";
    units.set(path, [...(units.get(path) ?? []), span]);
  }
  for (const [path, all] of units) {
    const unit = all.find((span) => span.kind === "unit");
    const parts = all.filter((span) => span.kind !== "unit");
    const partBars = parts.map((span): Bar => ({ stretch: stretchOf(span), tone: toneOf(span) }));
    if (unit === undefined) {
      // Its own span is on another page, or comes with its plan.
      rows.push(...parts.map((span, index) => ({ id: span.id, span, bars: partBars.slice(index, index + 1) })));
      continue;
    }
    const read: Bar[] = unit.read_at ? [{ stretch: [at(unit.started_at), at(unit.read_at)], tone: "read" }] : [];
    rows.push({ id: unit.id, span: unit, bars: [{ stretch: stretchOf(unit), tone: "rest" }, ...read, ...partBars], parts: parts.length });
    if (isOpen(path)) rows.push(...parts.map((span, index) => ({ id: span.id, span, bars: partBars.slice(index, index + 1) })));
  }
  return rows;
}

function outcome(span: SpanView): JSX.Element | string {
  if (span.kind === "state") return span.outcome?.replaceAll("_", " ") ?? "";
  if (span.kind === "model" && span.outcome === "answered") {
    const tokens = `${count(span.prompt_tokens ?? 0)} tokens in, ${count(span.completion_tokens ?? 0)} out`;
    return span.usd ? `${tokens}, ${money(span.usd)}` : tokens;
  }
  return <State of={span.outcome ?? ""} />;
}

export function Waterfall({ run }: { run: string }): JSX.Element {
  const query = { limit: MOST, cursor: place.value.query.get("trace") ?? undefined };
  const trace = useReading("/v1/runs/{run_id}/trace", { params: { run_id: run }, query, kinds: ["run"] });
  const [turned, setTurned] = useState<ReadonlySet<string>>(new Set());
  return (
    <Section
      title="Where the time went"
      more={
        <ul class="tones" aria-hidden="true">
          {TONES.map(([tone, name]) => (
            <li key={tone} class={tone}>
              {name}
            </li>
          ))}
        </ul>
      }
    >
      <Read of={trace}>
        {({ spans, next_cursor }) => {
          const isOpen = (path: string): boolean => spans.length <= FEW !== turned.has(path);
          const turn = (path: string): void => setTurned((before) => new Set(before.has(path) ? [...before].filter((one) => one !== path) : [...before, path]));
          const x = scaled(spans);
          const first = Math.min(...spans.map((span) => at(span.started_at)));
          const columns: readonly Column<Row>[] = [
            { head: "What", kind: "main", cell: (row) => <Name of={row} isOpen={isOpen} turn={turn} /> },
            { head: "Time", kind: "bar", cell: ({ bars }) => <Bars of={bars} x={x} /> },
            { head: "After", kind: "number", cell: ({ span }) => brisk(at(span.started_at) - first) },
            { head: "Took", kind: "number", cell: ({ span }) => (span.ended_at ? brisk(at(span.ended_at) - at(span.started_at)) : "goes on") },
            { head: "Result", cell: ({ span }) => outcome(span) },
          ];
          return <Table label="Where the time went" columns={columns} rows={rowsOf(spans, isOpen)} id={(row) => row.id} empty="Nothing has happened yet." next={next_cursor} cursor="trace" />;
        }}
      </Read>
    </Section>
  );
}

interface NameProps {
  readonly of: Row;
  readonly isOpen: (path: string) => boolean;
  readonly turn: (path: string) => void;
}

function Name({ of: { span, parts }, isOpen, turn }: NameProps): JSX.Element {
  if (span.kind === "state") return <>{span.name.toLowerCase()}</>;
  if (span.kind === "model") return <span class="part">question to {span.name}</span>;
  if (span.kind === "call") return <span class="part">{span.name}</span>;
  const path = span.path ?? "";
  if (!parts) return <Foreign of={path} />;
  return (
    <button type="button" class="turn" aria-expanded={isOpen(path)} onClick={() => turn(path)}>
      <Foreign of={path} />
    </button>
  );
}

function Bars({ of, x }: { of: readonly Bar[]; x: (time: number) => number }): JSX.Element {
  return (
    <svg class="bars" viewBox={`0 0 ${WIDTH} 10`} preserveAspectRatio="none" aria-hidden="true">
      {of.map(({ stretch: [from, to], tone }, index) => {
        const left = Math.min(x(from), WIDTH - LEAST);
        return <rect key={index} class={tone} x={left} y={tone === "rest" ? 3 : 0} height={tone === "rest" ? 4 : 10} width={Math.max(LEAST, x(to) - left)} />;
      })}
    </svg>
  );
}
