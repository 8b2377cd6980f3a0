// Times, durations, numbers and money as people read them.
const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const whole = new Intl.NumberFormat("en");
const rounded = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

const SKEW_S = 5; // of the clocks of the hub and the browser

/** Return the distance of a time from now: 5 min. ago, in 2 days. */
export function ago(at: string, nowMs: number): string {
  const seconds = (Date.parse(at) - nowMs) / 1_000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return unit === "second" ? (seconds > SKEW_S ? "soon" : "just now") : relative.format(Math.round(seconds / size), unit);
}

const precise = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

const zoned = new Intl.DateTimeFormat("en-GB", {
  ...{ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  timeZoneName: "shortOffset",
});

export function second(at: string): string {
  return precise.format(new Date(at));
}

/** Return a time to the second with its zone. */
export function full(at: string | number): string {
  return zoned.format(new Date(at));
}

/** Return the zone in which every page shows times, that of this browser, as in: Europe/Berlin (GMT+1). */
export function zone(nowMs: number): string {
  const offset = zoned.formatToParts(nowMs).find(({ type }) => type === "timeZoneName")?.value;
  return [HERE, offset && `(${offset})`].filter(Boolean).join(" ");
}

export const HERE = zoned.resolvedOptions().timeZone;
const SEASONS = [Date.UTC(2026, 0), Date.UTC(2026, 6)];

/** Return whether clocks of a zone are as here, in winter and in summer; one that this browser does not know is taken for it. */
export function isAsHere(timeZone: string): boolean {
  try {
    return SEASONS.every((at) => new Date(at).toLocaleString("en", { timeZone }) === new Date(at).toLocaleString("en"));
  } catch {
    return true;
  }
}

/** Return the day of a time in this zone, as in 2026-01-05. */
export function dayOf(at: Date): string {
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

/** Return when a day begins in this zone; a time stays as it is. */
export function beginOf(day: string | undefined): string | undefined {
  const begin = day && isDay(day) ? new Date(`${day}T00:00:00`) : undefined;
  return begin && !Number.isNaN(begin.getTime()) ? begin.toISOString() : day;
}

/** Return when a day ends in this zone; a time stays as it is. */
export function endOf(day: string | undefined): string | undefined {
  return day && isDay(day) ? beginOf(dayOf(dayAfter(new Date(`${day}T00:00:00`), 1))) : day;
}

const DAYS: Readonly<Record<string, number>> = { gestern: -1, yesterday: -1, heute: 0, today: 0, morgen: 1, tomorrow: 1 };

/** Return a day that is typed as yesterday, 27.11. or 2026-11-27, as in 2026-11-27; another text as it is. */
export function dayTyped(text: string, nowMs: number): string {
  const today = new Date(nowMs);
  const days = DAYS[text.toLowerCase()];
  if (days !== undefined) return dayOf(dayAfter(today, days));
  const [, day, month, year = today.getFullYear()] = /^(\d{1,2})\.(\d{1,2})\.(\d{4})?$/.exec(text) ?? [];
  return day && month ? `${year}-${month.padStart(2, "0")}-${day.padStart(2, "0")}` : text;
}

/** Return the begin of the day so many days later, in this zone. */
export function dayAfter(day: Date, days: number): Date {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days);
}

/** Return the begins of the last days, the newest first. */
export function lastDays(days: number, nowMs: number): readonly Date[] {
  return Array.from({ length: days }, (_, back) => dayAfter(new Date(nowMs), -back));
}

export function exact(at: string): string {
  return moment.format(new Date(at));
}

/** Return a sentence of the hub with its times, as in 2026-01-05 08:14 UTC, in this zone. */
export function inZone(sentence: string): string {
  return sentence.replace(/(\d{4}-\d\d-\d\d) (\d\d:\d\d(?::\d\d)?) UTC/g, (_, day: string, time: string) => exact(`${day}T${time}Z`));
}

/** Return a sentence with the days that it names, as in 2026-11-29, as people write them; names of files stay. */
export function inWords(sentence: string): string {
  return sentence.replace(/(?<![\w/."'“-])\d{4}-\d\d-\d\d(?![\w/"'”-]|\.\w| \d)/g, dayOrTime);
}

/** Return a sentence with a mark at its end. */
export function ended(sentence: string): string {
  return sentence === "" || /[.!?…:]$/.test(sentence) ? sentence : `${sentence}.`;
}

export const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;
const NEAR_DAYS = 180; // whose day and month say the year
export const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
export const dated = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const near = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });

/** Return a time as people say it: today 18:30, tomorrow 07:00, Fri 07:00; one in another week by its date. */
export function soon(at: string, nowMs: number): string {
  const time = new Date(at);
  const days = Math.round((Date.parse(dayOf(time)) - Date.parse(dayOf(new Date(nowMs)))) / DAY_MS);
  if (days === 0 || days === 1 || days === -1) return `${["yesterday", "today", "tomorrow"][days + 1]} ${clock.format(time)}`;
  return Math.abs(+time - nowMs) < WEEK_MS ? near.format(time) : exact(at);
}

const weekday = new Intl.DateTimeFormat("en-GB", {
  ...{ weekday: "short", day: "numeric", month: "short", year: "numeric" },
  timeZone: "UTC", // a day is no instant: it is the same one in every zone
});

/** Return whether a text is a day without a time, as in 2027-03-12. */
export function isDay(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text);
}

/** Return a day as in: Fri 12 Mar 2027; a time in this zone. */
export function dayOrTime(text: string): string {
  if (Number.isNaN(Date.parse(text))) return text;
  return isDay(text) ? weekday.format(new Date(`${text}T00:00Z`)).replace(",", "") : exact(text);
}

const sameYear = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

/** Return the day on which a day or time is in this zone. */
function dayIn(text: string): string {
  return isDay(text) ? text : dayOf(new Date(text));
}

/** Return in how many days a day or time is, in this zone; NaN: it is none. */
export function daysUntil(text: string, nowMs: number): number {
  return Math.round((Date.parse(dayIn(text)) - Date.parse(dayOf(new Date(nowMs)))) / DAY_MS);
}

/** Return the heading of a day or time in a list by days. */
export function dayHeading(text: string | null, nowMs: number): string {
  const days = text ? daysUntil(text, nowMs) : NaN;
  if (Number.isNaN(days)) return "Without a day";
  return days < 0 ? "Overdue or past" : days === 0 ? "Today" : days <= 7 ? "Next 7 days" : "Later";
}

/** Return a day or time as people say it: today, tomorrow 18:30, Fri 4 Dec; in another year with its number. */
export function dayWords(text: string, nowMs: number): string {
  const days = daysUntil(text, nowMs);
  if (Number.isNaN(days)) return text;
  const day = dayIn(text);
  const isNear = day.slice(0, 4) === dayOf(new Date(nowMs)).slice(0, 4) || (days > 0 && days < NEAR_DAYS);
  const word = ["yesterday", "today", "tomorrow"][days + 1] ?? (isNear ? sameYear : weekday).format(new Date(`${day}T00:00Z`)).replace(",", "");
  return isDay(text) ? word : `${word} ${clock.format(new Date(text))}`;
}

/** Return a duration in its two largest units: 1 d 4 h, 3 min 20 s. */
export function lasting(seconds: number): string {
  const parts: [string, number][] = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const first = parts.findIndex(([, size]) => seconds >= size);
  if (first < 0) return seconds > 0 ? "< 1 s" : "0 s";
  let rest = seconds;
  return parts
    .slice(first, first + 2)
    .map(([unit, size]): [string, number] => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return [unit, count];
    })
    .filter(([, count]) => count > 0)
    .map(([unit, count]) => `${count} ${unit}`)
    .join(" ");
}

/** Return a short time in one unit, a long one in its two largest: < 1 ms, 12 ms, 1.2 s, 3 min 20 s. */
export function brisk(ms: number): string {
  if (ms < 1_000) return ms > 0 && ms < 1 ? "< 1 ms" : `${Math.round(ms)} ms`;
  return ms < 10_000 ? `${(ms / 1_000).toFixed(1)} s` : lasting(ms / 1_000);
}

/** Return how long something lasted, or has lasted until now; empty: it has not begun. */
export function between(from: string | null, to: string | null, nowMs: number): string {
  if (from === null) return "";
  return lasting(Math.max(0, ((to === null ? nowMs : Date.parse(to)) - Date.parse(from)) / 1_000));
}

export function count(number: number): string {
  return whole.format(number);
}

export function decimal(number: number): string {
  return rounded.format(number);
}

export function bytes(number: number): string {
  const unit = number >= 1e9 ? 3 : number >= 1e6 ? 2 : number >= 1e3 ? 1 : 0;
  return `${rounded.format(Number((number / 1_000 ** unit).toPrecision(3)))} ${["B", "kB", "MB", "GB"][unit]}`;
}

export function money(usd: number): string {
  return usd === 0 ? "$0" : usd < 0.01 ? "< $0.01" : `$${usd.toFixed(2)}`;
}

/** Return the last characters of an id, which tell it from others in a list. */
export function brief(id: string): string {
  return id.length > 12 ? `…${id.slice(-6)}` : id;
}

/** Return a command with options for the filters that are set, safe to be pasted into a shell. */
export function commandOf(words: string, given: Readonly<Record<string, string | undefined>>): string {
  const flags = Object.entries(given).flatMap(([name, value]) => (value ? [`--${name} ${quoted(value)}`] : []));
  return [words, ...flags].join(" ");
}

export function quoted(text: string): string {
  return /^[\w.@+/:][\w.@+/:-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

const PROVIDERS: Readonly<Record<string, string>> = {
  imap: "Mailbox (IMAP)", maildir: "Mailbox in a folder (Maildir)", caldav: "Calendars (CalDAV)", ics: "Calendar at an address (.ics)",
  gmail: "Gmail", outlook: "Outlook", teams: "Microsoft Teams", rss: "Feed (RSS)", atom: "Feed (Atom)", jira: "Jira",
  "github-issues": "Issues at GitHub", "gitlab-issues": "Issues at GitLab", notion: "Notion", todoist: "Todoist",
};

/** Return what a provider is to people; one of a plug-in keeps its name. */
export function providerName(provider: string): string {
  return PROVIDERS[provider] ?? provider;
}

const THINGS: Readonly<Record<string, readonly [string, string]>> = {
  tasks: ["task", "tasks"], notes: ["note", "notes"], timelines: ["event", "events"], projects: ["project", "projects"], taskComments: ["comment", "comments"],
};

/** Return what rows of a table are to people: task, 2 events. A table of one's own keeps its name. */
export function thing(table: string, number?: number): string {
  const word = THINGS[table]?.[number === undefined || number === 1 ? 0 : 1] ?? table;
  return number === undefined ? word : `${count(number)} ${word}`;
}

/** Return what many rows of a table are to people: tasks, events. */
export function things(table: string): string {
  return THINGS[table]?.[1] ?? table;
}

const FIELDS: Readonly<Record<string, string>> = { dueDate: "due", date: "when", assignee: "for", author: "from", projectId: "project", taskId: "task", content: "text", clientId: "client" };

/** Return what a field is to people. A field of one's own keeps its name. */
export function fieldName(name: string): string {
  return FIELDS[name] ?? name;
}

const ISOLATES = "\u2066\u2067\u2068";
const END = "\u2069";

/** Return a text whose marks of direction act within it alone: those that are open are closed, others' ends are left out. */
export function balanced(text: string): string {
  if (!/[\u2066-\u2069]/.test(text)) return text;
  let open = 0;
  const kept = [...text].filter((letter) => {
    if (ISOLATES.includes(letter)) open += 1;
    else if (letter === END) open -= 1;
    if (open >= 0) return true;
    open = 0;
    return false;
  });
  return kept.join("") + END.repeat(open);
}
