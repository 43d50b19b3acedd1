// Who asks what of whom: whose memories answer questions to the swarm, since the view was opened.

import { html, useMemo } from "../../../vendor/ui.js";
import { count, share } from "../../core/format.js";
import { useLive } from "../live/stream.js";
import { Empty, ProblemNotice } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";

export function Asking() {
  const { events, problem } = useLive(false);
  const flows = useMemo(() => flowsOf(events), [events]);
  return html`<section class="card" aria-label="Who asks whom">
    <div class="card-head">
      <h2>Who asks what of whom</h2>
      <span class="small">questions to other agents since this page was opened</span>
    </div>
    ${problem && html`<${ProblemNotice} problem=${problem} />`}
    ${flows.length === 0
      ? html`<${Empty} title="No agent has asked the others yet">
          <p>A question with <code>"scope": "all"</code> or <code>"others"</code> shows here as it is asked.</p>
        <//>`
      : html`<${Table} caption="Who asks whom" columns=${COLUMNS} rows=${flows} first="hits"
          rowKey=${(flow) => `${flow.asker}\n${flow.owner}`} isTall />`}
  </section>`;
}

const COLUMNS = [
  { name: "asker", title: "Asks", kind: "text", sort: (f) => f.asker, of: (f) => f.asker },
  { name: "owner", title: "Answered by", kind: "text", sort: (f) => f.owner, of: (f) => f.owner },
  { name: "questions", title: "Questions", kind: "number", sort: (f) => f.questions, of: (f) => count(f.questions) },
  { name: "hits", title: "Memories", kind: "number", sort: (f) => f.hits, of: (f) => count(f.hits) },
  { name: "share", title: "Of the answers", kind: "number", sort: (f) => f.share, of: (f) => share(f.share) },
];

function flowsOf(events) {
  const flows = new Map();
  const answered = new Map();
  for (const { kind, agent_id: asker, owners, found } of events) {
    if ((kind !== "recall" && kind !== "estimate") || !owners) continue;
    answered.set(asker, (answered.get(asker) ?? 0) + found);
    for (const [owner, hits] of Object.entries(owners)) {
      const name = `${asker}\n${owner}`;
      const flow = flows.get(name) ?? { asker, owner, hits: 0, questions: 0 };
      flows.set(name, { ...flow, hits: flow.hits + hits, questions: flow.questions + 1 });
    }
  }
  return [...flows.values()].map((flow) => ({ ...flow, share: flow.hits / answered.get(flow.asker) }));
}
