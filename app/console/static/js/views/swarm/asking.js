// Who asks what of whom: whose memories answer questions across agents.
//
// What was asked before the page was opened comes from the service, which remembers the latest
// answers; what is asked since then comes from the stream of events.

import { html, useMemo, useState } from "../../../vendor/ui.js";
import { categoryColour } from "../../core/colours.js";
import { count, plural, share, time } from "../../core/format.js";
import { isDark } from "../../core/preferences.js";
import { change, link } from "../../core/route.js";
import { useLive } from "../live/stream.js";
import { Choice } from "../../parts/fields.js";
import { Empty, ProblemNotice } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { TimeChart } from "../../parts/time_chart.js";

/** Of fewer answers, crowding says nothing. */
const FEW_ANSWERS = 100;
const LINES = 6;
const STEPS = 60;
const LEAST_STEP_S = 5;

/** `told`: what the service remembers, `{pairs, answers, since}`. What it says later is not looked
 * at: the stream has that. */
export function Asking({ told, params }) {
  const [before] = useState(told);
  const { events, seconds, problem } = useLive(false);
  const of = params.count === "questions" ? "questions" : "hits";
  const asked = useMemo(() => events.filter(isToOthers), [events]);
  const flows = useMemo(() => flowsOf(before.pairs, asked), [before, asked]);
  const chart = useMemo(() => overTime(asked, flows, of), [asked, flows, of, seconds, isDark.value]);
  return html`<section class="card" aria-label="Who asks whom">
    <div class="card-head">
      <h2>Who asks what of whom</h2>
      <span class="small">whose memories answered, of the ten nearest of each answer; ${remembered(before)}</span>
    </div>
    ${problem && html`<${ProblemNotice} problem=${problem} />`}
    ${flows.length === 0
      ? html`<${Empty} title="No agent has asked the others yet">
          <p>
            Ask with <strong>Memories of: all agents</strong> in <a href=${link("ask")}>Ask</a>, or send a question
            with <code>"scope": "all"</code> or <code>"others"</code>: it shows here within a second.
          </p>
        <//>`
      : html`<div class="card-body stack">
            ${before.crowding != null && before.answers >= FEW_ANSWERS && html`<p class="small">
              Crowding: <b>${share(before.crowding)}</b> of the searches that the service remembers found one of the ten most used
              memories. Near 100 %, the swarm relies on the same few.
            </p>`}
            <div class="row"><${Choice} name="Count" value=${of} onChange=${(count) => change({ count })}
              options=${[["hits", "Memories"], ["questions", "Questions"]]} /></div>
            ${!chart && html`<p class="small soft">The chart begins with the next question.</p>`}
            ${chart && html`<${TimeChart} label="Who asks whom over time" times=${chart.times} series=${chart.series}
              unit=${`${of === "hits" ? "memories" : "questions"} each ${chart.step} s`} isStepped format=${count} />`}
          </div>
          <${Table} caption="Who asks whom" columns=${COLUMNS} rows=${flows} first="hits"
            rowKey=${(flow) => flow.name} isTall />`}
  </section>`;
}

function remembered({ answers, since }) {
  if (!answers) return "since this page was opened";
  return `the latest ${plural(answers, "answer")} of this process since ${time(since)}, and all since this page was opened`;
}

const COLUMNS = [
  { name: "asker", title: "Asks", kind: "text", sort: (f) => f.asker, of: (f) => f.asker },
  { name: "owner", title: "Answered by", kind: "text", sort: (f) => f.owner, of: (f) => f.owner },
  { name: "kinds", title: "What", kind: "text", of: (f) => whatOf(f) },
  { name: "questions", title: "Questions", kind: "number", sort: (f) => f.questions, of: (f) => count(f.questions) },
  { name: "hits", title: "Memories", kind: "number", sort: (f) => f.hits, of: (f) => count(f.hits) },
  { name: "share", title: "Of the answers", kind: "number", sort: (f) => f.share, of: (f) => share(f.share) },
];

function isToOthers({ kind, owners }) {
  return (kind === "recall" || kind === "estimate") && owners;
}

function whatOf({ recalls, estimates }) {
  const said = [];
  if (recalls) said.push(recalls === 1 ? "1 recall" : `${count(recalls)} recalls`);
  if (estimates) said.push(estimates === 1 ? "1 estimate" : `${count(estimates)} estimates`);
  return said.join(", ");
}

function flowsOf(before, asked) {
  const flows = new Map();
  const add = (asker, owner, { hits, recalls = 0, estimates = 0 }) => {
    const name = nameOf(asker, owner);
    const flow = flows.get(name) ?? { name, asker, owner, hits: 0, questions: 0, recalls: 0, estimates: 0 };
    flow.hits += hits;
    flow.questions += recalls + estimates;
    flow.recalls += recalls;
    flow.estimates += estimates;
    flows.set(name, flow);
  };
  for (const { asker, owner, memories, recalls, estimates } of before) {
    add(asker, owner, { hits: memories, recalls, estimates });
  }
  for (const { kind, agent_id: asker, owners, count: questions = 1 } of asked) {
    for (const [owner, hits] of Object.entries(owners)) add(asker, owner, { hits, [`${kind}s`]: questions });
  }
  const answered = new Map();
  for (const { asker, hits } of flows.values()) answered.set(asker, (answered.get(asker) ?? 0) + hits);
  return [...flows.values()].map((flow) => ({ ...flow, share: flow.hits / answered.get(flow.asker) }));
}

function nameOf(asker, owner) {
  return `${asker}\n${owner}`;
}

/** The largest flows in even steps of time, from the first question to now; null before a step is over. */
function overTime(asked, flows, of) {
  if (!asked.length) return null;
  const [first, now] = [asked[asked.length - 1].at, Date.now() / 1000];
  const step = LEAST_STEP_S * Math.max(1, Math.ceil((now - first) / STEPS / LEAST_STEP_S));
  const start = Math.floor(first / step);
  const length = Math.floor(now / step) - start + 1;
  if (length < 2) return null;
  const largest = [...flows].sort((a, b) => b[of] - a[of]).slice(0, LINES);
  const values = new Map(largest.map(({ name }) => [name, new Array(length).fill(0)]));
  for (const { agent_id: asker, at, owners, count: questions = 1 } of asked) {
    for (const [owner, hits] of Object.entries(owners)) {
      const line = values.get(nameOf(asker, owner));
      const place = Math.min(Math.max(Math.floor(at / step) - start, 0), length - 1);
      if (line) line[place] += of === "hits" ? hits : questions;
    }
  }
  const series = largest.map(({ name, asker, owner }, n) => ({
    name: `${asker} of ${owner}:`, colour: categoryColour(n), values: values.get(name),
  }));
  return { step, times: Array.from({ length }, (_, i) => (start + i) * step), series };
}
