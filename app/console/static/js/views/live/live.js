// Live: stores, outcomes and recalls as they happen.

import { html, useState } from "../../../vendor/ui.js";
import { change } from "../../core/route.js";
import { Select, Text } from "../../parts/fields.js";
import { Empty, ProblemNotice, Warning } from "../../parts/notice.js";
import { Events } from "./events.js";
import { Rates } from "./rates.js";
import { useLive } from "./stream.js";

const KINDS = [["", "everything"], ["store", "stores"], ["outcome", "outcomes"], ["rating", "ratings"], ["recall", "recalls"], ["estimate", "estimates"], ["delete", "deletions"]];

function stateOf({ isOpen, problem }, isPaused) {
  if (isOpen) return "connected";
  if (isPaused) return "paused";
  return problem ? "not connected" : "connecting";
}

export function View({ params }) {
  const [isPaused, setPaused] = useState(false);
  const live = useLive(isPaused);
  const { kind = "", agent = "" } = params;
  const shown = live.events.filter((e) => (!kind || e.kind === kind) && (!agent || e.agent_id === agent));
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Live</h1>
        <p>Changes of all memories and questions to them, in every process of the service.</p>
      </div>
      <div class="view-head-tools">
        <span class=${`badge ${live.isOpen ? "ok" : "warn"}`} role="status">${stateOf(live, isPaused)}</span>
        <button class="button" onClick=${() => setPaused(!isPaused)}>${isPaused ? "Go on" : "Pause"}</button>
      </div>
    </div>
    ${live.problem && html`<${ProblemNotice} problem=${live.problem} />`}
    ${live.lost > 0 && html`<${Warning}>More happened than is shown: ${live.lost} events were counted and left out.<//>`}
    <${Rates} seconds=${live.seconds} />
    <section class="card" aria-label="Events">
      <div class="card-head live-filters">
        <${Select} name="Show" value=${kind} options=${KINDS} onChange=${(value) => change({ kind: value || null })} />
        <${Text} name="Agent" value=${agent} placeholder="any" onChange=${(value) => change({ agent: value || null })} />
      </div>
      ${shown.length === 0
        ? html`<${Nothing} live=${live} />`
        : html`<${Events} events=${shown} />`}
    </section>
  </div>`;
}

function Nothing({ live: { isOpen, events } }) {
  if (!isOpen) return html`<${Empty} title="Nothing is heard without a connection" />`;
  if (events.length) return html`<${Empty} title="No event matches"><p>Show everything, or any agent.</p><//>`;
  return html`<${Empty} title="Nothing has happened since this page was opened">
    <p>Ask something in another tab, or run <code>make demo</code>: it shows here within a second.</p>
  <//>`;
}
