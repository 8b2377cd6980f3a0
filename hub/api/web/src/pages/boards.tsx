import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act, Form, attempt, without } from "../acting";
import { may } from "../me";
import { Cards, type Column, Command, Facts, Field, Listed, Named, Page, Read, Section, Select, State, Table, Time, Told } from "../parts";
import { useReading } from "../reading";
import { go, link, place } from "../router";
import { ask } from "../server";
import type { BoardAgentView, BoardDetail, BoardView, MemoryView } from "../types";
import { MESSAGES } from "./messages";

const ROWS = 50;
const NEWEST = 20;
const KNOWN = 200; // agents that are offered

const COLUMNS: readonly Column<BoardView>[] = [
  { head: "Board", kind: "main", cell: (board) => <a href={link(["boards", board.name])}>{board.name}</a> },
  { head: "User", cell: (board) => board.user },
  { head: "Lead", cell: (board) => board.lead ?? "–" },
  { head: "Agents", kind: "number", cell: (board) => board.agents },
  { head: "Gateway", cell: (board) => board.gateway ?? "–" },
  { head: "Purpose", kind: "text", cell: (board) => board.description ?? "–" },
];

export function Boards(): JSX.Element {
  const cursor = place.value.query.get("cursor");
  const read = useReading("/v1/boards", { query: { limit: ROWS, cursor }, kinds: ["board"] });
  const [name, setName] = useState("");
  async function make(): Promise<void> {
    if (await attempt(() => ask("post", "/v1/boards", { body: { name } }), `${name} is made.`)) go(link(["boards", name]));
  }
  return (
    <Page title="Boards" command="hub boards">
      <Listed of={read} label="Boards" columns={COLUMNS} rows={(data) => data.boards} id={(board) => board.id} empty={<>There is no board yet. Agents on one board work together. <Command text="hub boards create NAME" /></>} cursor="cursor" />
      {may("devices") && (
        <Form send={make}>
          <Field label="Name" most={64} value={name} change={setName} />
          <button>Make a board</button>
        </Form>
      )}
    </Page>
  );
}

export function Board({ name }: { name: string }): JSX.Element {
  const params = { board: name };
  const read = useReading("/v1/boards/{board}", { params, kinds: ["board", "agent"] });
  return (
    <Page
      title={name}
      command={`hub boards show ${name}`}
      actions={read.data && (
        <Act
          label="Delete"
          scope="devices"
          action={() => ask("delete", "/v1/boards/{board}", { params })}
          done={`${name} is deleted.`}
          confirm={`Delete ${name} and its memory? Its agents stay.`}
          then={() => go("/boards")}
        />
      )}
    >
      <Read of={read}>
        {(data) => (
          <>
            <Facts
              rows={[
                ["Purpose", data.description],
                ["User", data.user],
                ["Gateway", data.gateway],
                ["Made", <Time at={data.created_at} />],
              ]}
            />
            <Members of={data} />
            {may("run") && data.members.length > 0 && <Nudge of={data} />}
            <BoardMessages board={name} />
            <Memory board={name} />
          </>
        )}
      </Read>
    </Page>
  );
}

function Members({ of }: { of: BoardDetail }): JSX.Element {
  const agents = useReading("/v1/agents", { query: { limit: KNOWN }, when: may("devices") });
  const [agent, setAgent] = useState("");
  const here = of.members.map((one) => one.name);
  const others = (agents.data?.agents ?? []).map((one) => one.name).filter((name) => !here.includes(name));
  const columns: readonly Column<BoardAgentView>[] = [
    { head: "Agent", kind: "main", cell: (one) => <a href={link(["agents", one.name])}>{one.name}</a> },
    { head: "Role", cell: (one) => (one.is_lead ? "lead" : "worker") },
    { head: "Available", cell: (one) => <State of={one.availability} /> },
    { head: "Link", cell: (one) => <State of={one.connectivity} /> },
    { head: "Lives at", cell: (one) => one.gateway ?? one.device ?? "–" },
    {
      head: "Change",
      cell: (one) => (
        <div class="actions">
          {!one.is_lead && (
            <Act
              label="Make it lead"
              scope="devices"
              action={() => ask("put", "/v1/boards/{board}/lead", { params: { board: of.id }, body: { agent: one.id } })}
              done={`${one.name} leads.`}
            />
          )}
          <Act
            label="Drop"
            scope="devices"
            action={() => ask("delete", "/v1/boards/{board}/agents/{agent}", { params: { board: of.id, agent: one.id } })}
            done={`${one.name} is on no board now.`}
          />
        </div>
      ),
    },
  ];
  async function add(): Promise<void> {
    const body = { agent };
    const isDone = await attempt(() => ask("post", "/v1/boards/{board}/agents", { params: { board: of.id }, body }), `${agent} is on the board.`);
    if (!isDone) return;
    setAgent(without(agent));
  }
  return (
    <Section title="Agents">
      <Table label="Agents of the board" columns={columns} rows={of.members} id={(one) => one.id} empty="No agent is on this board." />
      {others.length > 0 && (
        <Form send={add}>
          <Select label="Agent" values={others} value={agent} change={setAgent} none="choose" />
          <button disabled={agent === ""}>Add it</button>
        </Form>
      )}
    </Section>
  );
}

function Nudge({ of }: { of: BoardDetail }): JSX.Element {
  const [agent, setAgent] = useState("");
  const [content, setContent] = useState("");
  const to = agent || of.members[0]?.name || "";
  async function send(): Promise<void> {
    const params = { board: of.id, agent: to };
    const isSent = await attempt(
      () => ask("post", "/v1/boards/{board}/agents/{agent}/nudge", { params, query: { wait_s: 0 }, body: { content } }),
      `The message to ${to} is on its way.`,
    );
    if (isSent) setContent(without(content));
  }
  return (
    <Section title="Write to an agent">
      <Form send={send}>
        <Select label="To" values={of.members.map((one) => one.name)} value={to} change={setAgent} />
        <Field label="Message" kind="lines" value={content} change={setContent} />
        <button class="main">Send</button>
      </Form>
    </Section>
  );
}

function BoardMessages({ board }: { board: string }): JSX.Element {
  const read = useReading("/v1/messages", { query: { board, limit: NEWEST }, kinds: ["message"] });
  return (
    <Section title="Newest messages" more={<a href={link(["messages"], { board })}>All messages</a>}>
      <Listed of={read} label="Messages" columns={MESSAGES} rows={(data) => data.messages} id={(one) => one.id} empty="No message yet." />
    </Section>
  );
}

function Memory({ board }: { board: string }): JSX.Element {
  const cursor = place.value.query.get("cursor");
  const params = { board };
  const read = useReading("/v1/boards/{board}/memory", { params, query: { limit: NEWEST, cursor }, kinds: ["board"] });
  const [content, setContent] = useState("");
  async function write(): Promise<void> {
    const isWritten = await attempt(() => ask("post", "/v1/boards/{board}/memory", { params, body: { content } }), "It is written.");
    if (!isWritten) return;
    setContent(without(content));
  }
  return (
    <Section title="Memory">
      {may("run") && (
        <Form send={write}>
          <Field label="Write into the memory" kind="lines" value={content} change={setContent} />
          <button>Write</button>
        </Form>
      )}
      <Read of={read}>
        {(data) => (
          <Cards rows={data.memory} id={(one) => one.id} empty="Nothing is remembered yet." next={data.next_cursor}>
            {(one) => <Remembered of={one} />}
          </Cards>
        )}
      </Read>
    </Section>
  );
}

function Remembered({ of }: { of: MemoryView }): JSX.Element {
  const params = { board: of.board_id, memory_id: of.id };
  return (
    <article aria-label={`Memory of ${of.agent ?? of.actor_name ?? of.actor}`}>
      <p class="card-head">
        <span>
          <Named id={of.actor} name={of.agent ?? of.actor_name} />
          {of.is_chat && " · chat"}
          {of.tags.length > 0 && ` · ${of.tags.join(", ")}`}
        </span>
        <Time at={of.created_at} />
      </p>
      <Told text={of.content} />
      <div class="actions">
        <Act
          label="Forget"
          scope="run"
          action={() => ask("delete", "/v1/boards/{board}/memory/{memory_id}", { params })}
          done="It is forgotten."
          confirm="Remove this from the memory of the board?"
        />
      </div>
    </article>
  );
}
