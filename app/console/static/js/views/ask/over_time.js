// How the answer came to be: the value of each action at many moments of the past.

import { html } from "../../../vendor/ui.js";
import { present } from "../../core/agents.js";
import { call } from "../../core/api.js";
import { coloursOf } from "../../core/colours.js";
import { inTurns, useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { Resource } from "../../parts/notice.js";
import { TimeChart } from "../../parts/time_chart.js";

const STEPS = 24;
const YEAR_S = 365.25 * 86400;

/** `earliest`: the first of the moments found, for an agent that has none of its own (unix seconds).
 * `isOpen`: the link says so. */
export function OverTime({ body, moment, earliest, isOpen }) {
  return html`<section class="card" aria-label="Over time">
    <details class="card-body" open=${isOpen} onToggle=${(event) => change({ years: event.target.open ? "open" : null })}>
      <summary>The same question over the years: 24 answers, each as it would have been then</summary>
      ${isOpen && html`<${Asked} body=${body} moment=${moment} earliest=${earliest} />`}
    </details>
  </section>`;
}

async function history(body, earliest, end, signal) {
  const { memories } = await call("POST", "/v1/episodic/query", {
    body: { agent_id: body.agent_id, limit: 1, order: "asc", ...present() }, signal,
  });
  const start = Math.min((memories[0]?.timestamp ?? earliest) + YEAR_S, end);
  const times = Array.from({ length: STEPS }, (_, i) => start + ((end - start) * i) / (STEPS - 1));
  const ask = (asOf) =>
    call("POST", "/v1/episodic/estimate", { body: { ...body, as_of: asOf }, signal });
  return { times, estimates: await inTurns(times, ask) };
}

function Asked({ body, moment, earliest }) {
  const { as_of: asOf, ...always } = body;
  const end = Math.max(asOf ?? Date.now() / 1000, moment?.timestamp ?? 0);
  const resource = useResource((signal) => history(always, earliest, end, signal), [body]);
  return html`<${Resource} resource=${resource} what="24 answers of the past">
    ${({ times, estimates }) => html`<${Lines} times=${times} estimates=${estimates} />`}
  <//>`;
}

function Lines({ times, estimates }) {
  const names = [...new Set(estimates.flatMap((e) => e.actions.map((a) => a.action ?? "no action")))].sort();
  const colours = coloursOf(names);
  const series = names.map((name) => ({
    name,
    colour: colours.get(name),
    values: estimates.map((e) => e.actions.find((a) => (a.action ?? "no action") === name)?.value ?? null),
  }));
  return html`
    <${TimeChart} label="Value of each action as of the time below" times=${times} series=${series}
      unit="reward" />
  `;
}
