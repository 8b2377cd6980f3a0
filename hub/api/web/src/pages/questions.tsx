import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Act } from "../acting";
import { may } from "../me";
import { Cards, Field, Page, Read, State, Time, Told } from "../parts";
import { useReading } from "../reading";
import { place } from "../router";
import { Search } from "../search";
import { ask } from "../server";
import type { QuestionView } from "../types";

const ROWS = 20;
const OPEN = "open";
const SETTLED = ["answered", "withdrawn", "expired"];

export function Questions(): JSX.Element {
  const { state = OPEN, cursor } = Object.fromEntries(place.value.query);
  const questions = useReading("/v1/questions", { query: { state, cursor, limit: ROWS }, kinds: ["question"] });
  return (
    <Page title="Questions" command={state === OPEN ? "hub ask ls" : "hub ask ls --all"}>
      <Search fields={[{ name: "state", values: SETTLED }]} />
      <Read of={questions}>
        {(data) => (
          <Cards rows={data.questions} id={(one) => one.id} empty={`No question is ${state}.`} next={data.next_cursor}>
            {(one) => <Question of={one} />}
          </Cards>
        )}
      </Read>
    </Page>
  );
}

function Question({ of }: { of: QuestionView }): JSX.Element {
  return (
    <article aria-label={`Question of ${of.asked_by}`}>
      <p class="card-head">
        <span>
          {of.asked_by}
          {of.board && ` · ${of.board}`} <State of={of.state} />
        </span>
        <Time at={of.created_at} />
      </p>
      <Told text={of.content} />
      {of.answer !== null && (
        <>
          <p class="quiet">
            {of.answered_by} answered <Time at={of.settled_at} />
          </p>
          <Told text={of.answer} />
        </>
      )}
      {of.state === OPEN && <Answer of={of} />}
    </article>
  );
}

function Answer({ of }: { of: QuestionView }): JSX.Element | null {
  const [answer, setAnswer] = useState("");
  const params = { question_id: of.id };
  if (!may("answer")) return null;
  return (
    <div class="actions">
      <Field label={<>Answer, until it expires <Time at={of.expires_at} /></>} kind="lines" value={answer} change={setAnswer} />
      <Act
        label="Answer"
        scope="answer"
        action={() => ask("post", "/v1/questions/{question_id}/answer", { params, body: { answer } })}
        done="The question is answered."
        disabled={answer.trim() === ""}
        isMain
      />
      <Act
        label="Withdraw"
        scope="answer"
        action={() => ask("post", "/v1/questions/{question_id}/withdraw", { params })}
        done="The question is withdrawn."
        confirm="Withdraw this question? Whoever asked gets no answer."
      />
    </div>
  );
}
