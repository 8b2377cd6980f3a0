import type { JSX } from "preact";
import { Act } from "../acting";
import { type Column, Facts, Foreign, Listed, Page, Read, Section, State, Table, Time, Told } from "../parts";
import { useReading } from "../reading";
import { link, place } from "../router";
import { Search } from "../search";
import { ask } from "../server";
import type { MessageDetail, MessageMoveView, MessageView } from "../types";

const ROWS = 50;
const SHOWN = 80; // characters of a text in a list
const STATES = ["waiting", "sent", "accepted", "queued", "consumed", "answered", "interrupted", "failed", "expired"];
const HELD = ["waiting", "interrupted"]; // states of a message that can be cancelled

export const MESSAGES: readonly Column<MessageView>[] = [
  { head: "Message", kind: "main", cell: (one) => <a href={link(["messages", one.id])}><Foreign of={one.content.slice(0, SHOWN)} /></a> },
  { head: "State", cell: (one) => <State of={one.state} /> },
  { head: "From", cell: (one) => <Foreign of={one.from_agent ?? one.sent_by} /> },
  { head: "To", cell: (one) => <Foreign of={one.agent ?? "the lead"} /> },
  { head: "Board", cell: (one) => (one.board ? <a href={link(["boards", one.board])}>{one.board}</a> : "–") },
  { head: "Sent", cell: (one) => <Time at={one.created_at} /> },
];

export function Messages(): JSX.Element {
  const { board, agent, state, cursor } = Object.fromEntries(place.value.query);
  const read = useReading("/v1/messages", { query: { board, agent, state, cursor, limit: ROWS }, kinds: ["message"] });
  return (
    <Page title="Messages" command="hub messages">
      <Search fields={[{ name: "state", values: STATES }, { name: "board" }, { name: "agent" }]} />
      <Listed of={read} label="Messages" columns={MESSAGES} rows={(data) => data.messages} id={(one) => one.id} empty="No message is here. Send one on the page of a board." cursor="cursor" />
    </Page>
  );
}

export function Message({ name: id }: { name: string }): JSX.Element {
  const params = { message_id: id };
  const read = useReading("/v1/messages/{message_id}", { params, kinds: ["message"] });
  const isHeld = read.data !== undefined && HELD.includes(read.data.state);
  return (
    <Page
      title="Message"
      command={`hub messages show ${id}`}
      actions={
        isHeld && (
          <Act
            label="Cancel"
            scope="run"
            action={() => ask("post", "/v1/messages/{message_id}/cancel", { params })}
            done="The message is cancelled."
            confirm="Cancel this message? Its agent does not get it."
          />
        )
      }
    >
      <Read of={read}>{(data) => <Detail of={data} />}</Read>
    </Page>
  );
}

const MOVES: readonly Column<MessageMoveView>[] = [
  { head: "When", cell: (move) => <Time at={move.at} isExact /> },
  { head: "State", cell: (move) => <State of={move.new_state} /> },
  { head: "Attempt", kind: "number", cell: (move) => move.attempt },
  { head: "Because", kind: "text", cell: (move) => move.reason ?? "–" },
];

function Detail({ of }: { of: MessageDetail }): JSX.Element {
  return (
    <>
      <Told text={of.content} />
      {of.answer !== null && (
        <Section title="Answer">
          <Told text={of.answer} />
        </Section>
      )}
      <Facts
        rows={[
          ["State", <State of={of.state} />],
          ["Waits for", of.waiting_for],
          ["Because", of.reason],
          ["Kind", of.kind],
          ["Board", of.board && <a href={link(["boards", of.board])}>{of.board}</a>],
          ["From", <Foreign of={of.from_agent ?? of.sent_by} />],
          ["To", of.agent ? <a href={link(["agents", of.agent])}>{of.agent}</a> : "the lead of the board"],
          ["By way of", of.gateway ?? of.device],
          ["Sent", <Time at={of.created_at} />],
          ["Expires", of.settled_at === null && <Time at={of.expires_at} />],
          ["Settled", of.settled_at && <Time at={of.settled_at} />],
        ]}
      />
      <Section title="History">
        <Table label="History" columns={MOVES} rows={of.moves} id={(move) => move.at + move.new_state} empty="Nothing has happened yet." />
      </Section>
    </>
  );
}
