// Does an agent's memory help? Asks the service for a verdict against placebos, and shows it.

import { html, useState } from "../../../vendor/ui.js";
import { call, path } from "../../core/api.js";
import { count, fixed, share, signed } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { Select, Text } from "../../parts/fields.js";
import { Empty, ProblemNotice, Resource } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { VerdictBadge } from "./verdict_badge.js";

const POLL_MS = 500;
const SCOPES = [["own", "Its own"], ["others", "The others'"], ["all", "All"]];
const STATISTICS = {
  rank_correlation: "Rank correlation",
  brier: "Chance of a loss (Brier)",
  interval_score: "Interval score",
  profit: "Profit",
};

export function Verdict({ agents, params }) {
  const { judged = agents[0].agent_id, scope = "own", evaluation = null } = params;
  const [refused, setRefused] = useState(null);
  const [isStarting, setStarting] = useState(false);
  const start = async () => {
    setStarting(true);
    try {
      const body = { agent_id: judged, scope };
      change({ evaluation: (await call("POST", "/v1/evaluate", { body })).id });
      setRefused(null);
    } catch (problem) {
      setRefused(problem);
    } finally {
      setStarting(false);
    }
  };
  const set = (name) => (value) => change({ [name]: value || null, evaluation: null });
  return html`<section class="card" aria-label="Verdict">
    <div class="card-head">
      <h2>Does the memory help?</h2>
      <span class="small">an agent's closed memories, each asked as of its own moment, against placebos</span>
    </div>
    <div class="card-body pattern-question">
      <${Text} name="Whose memories are asked" value=${judged} suggestions=${agents.map(({ agent_id: name }) => name)}
        onChange=${set("judged")} />
      <${Select} name="Whose memories answer" value=${scope} options=${SCOPES} onChange=${set("scope")} />
      <button class="button" disabled=${isStarting} onClick=${start}>Ask for a verdict</button>
    </div>
    ${refused && html`<${ProblemNotice} problem=${refused} />`}
    ${evaluation
      ? html`<${Judged} key=${evaluation} id=${evaluation} />`
      : html`<${Empty} title="No verdict was asked for">
          <p>It takes up to 20 seconds. The service keeps it for a week, and this page's address leads to it.</p>
        <//>`}
  </section>`;
}

function Judged({ id }) {
  const [progress, setProgress] = useState(null);
  const found = useResource((signal) => finished(id, signal, setProgress), [id]);
  return html`
    ${found.isLoading && progress && html`<progress class="judging" max=${progress.total || 1} value=${progress.done}
      aria-label="Questions asked"></progress>`}
    <${Resource} resource=${found} what="the verdict">
      ${(job) =>
        job.result
          ? html`<${Result} job=${job} />`
          : html`<${Empty} title=${`The evaluation ${job.status === "failed" ? "failed" : "was cancelled"}`}>
              <p>${job.problem?.detail ?? "Nobody asked for it for two minutes, or the service stopped: ask again."}</p>
            <//>`}
    <//>`;
}

async function finished(id, signal, onProgress) {
  for (;;) {
    const job = await call("GET", path`/v1/evaluate/${id}`, { signal });
    if (job.status !== "queued" && job.status !== "running") return job;
    onProgress(job);
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
}

function Result({ job: { agent_id: agent, request, result } }) {
  const { verdict, statistic, findings, gain, metric } = result;
  return html`<div class="card-body stack">
    <p role="status"><${VerdictBadge} verdict=${verdict} /> ${said(result)}</p>
    <dl class="line-facts">
      <div><dt>Agent</dt><dd>${agent}</dd></div>
      <div><dt>Answered by</dt><dd>${request.scope ?? "own"}</dd></div>
      <div><dt>Closed memories</dt><dd>${count(result.memories)}</dd></div>
      <div><dt>Apart in time</dt><dd>${count(result.eligible)}</dd></div>
      <div><dt>Asked</dt><dd>${count(result.asked)}</dd></div>
      <div><dt>With enough neighbours</dt><dd>${count(result.questions)}</dd></div>
      ${metric && html`<div><dt>Distance</dt><dd>${metric}</dd></div>`}
      ${gain && html`<div><dt>Against the cosine distance</dt><dd>${signed(gain.value, 3)} (${signed(gain.low, 3)} … ${signed(gain.high, 3)})</dd></div>`}
    </dl>
    ${findings.length > 0 &&
    html`<${Table} caption="Memory and placebos" columns=${COLUMNS} rows=${findings} rowKey=${(f) => f.statistic}
      isChosen=${(f) => f.statistic === statistic} />`}
  </div>`;
}

function said({ verdict, statistic, findings, questions }) {
  if (!findings.length) return `Only ${count(questions)} questions could be asked: that is too few for a verdict.`;
  const { p_helps: better, p_harms: worse, detectable } = findings.find((f) => f.statistic === statistic);
  const by = STATISTICS[statistic].toLowerCase();
  if (verdict === "helps") return `Only ${share(better)} of placebos and memory score as high by ${by}.`;
  if (verdict === "harms") return `Only ${share(worse)} of placebos and memory score as low by ${by}.`;
  return `The memory cannot be told apart from its placebos by ${by}. An effect below ${fixed(detectable, 3)} may go unseen with this much data.`;
}

const COLUMNS = [
  { name: "statistic", title: "Statistic", kind: "text", of: (f) => STATISTICS[f.statistic] },
  { name: "value", title: "Memory", kind: "number", of: (f) => signed(f.value) },
  { name: "placebo", title: "Placebos", kind: "number", of: (f) => signed(f.placebo) },
  { name: "effect", title: "Effect", kind: "number", of: (f) => html`<b>${signed(f.effect)}</b>` },
  { name: "interval", title: "95 %", kind: "number", of: (f) => html`<span class="nowrap">${signed(f.low)} … ${signed(f.high)}</span>` },
  { name: "detectable", title: "Detectable", kind: "number", of: (f) => fixed(f.detectable, 4) },
  { name: "p", title: "p", kind: "number", of: (f) => fixed(f.p_helps, 2) },
  { name: "holm", title: "Holm's p", kind: "number", of: (f) => fixed(f.holm_helps, 2) },
];
