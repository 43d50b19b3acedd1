// Swarm: every agent with what it holds, what came of it, whether that helps, and who asks what of whom.

import { html } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { bytes, count, plural } from "../../core/format.js";
import { usePages } from "../../core/pages.js";
import { useResource } from "../../core/resource.js";
import { link } from "../../core/route.js";
import { NothingStored, Resource, Warning } from "../../parts/notice.js";
import { Agents } from "./agents.js";
import { Asking } from "./asking.js";
import { Growth } from "./growth.js";
import { Regimes } from "./regimes.js";
import { Uplift } from "./uplift.js";
import { Verdict } from "./verdict.js";

const PAGE = 100;

async function page(cursor, signal) {
  const query = `?limit=${PAGE}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
  const [stats, listed] = await Promise.all([
    call("GET", `/v1/stats${query}`, { signal }),
    call("GET", `/v1/agents${query}&asked=true`, { signal }),
  ]);
  const stored = new Map(stats.agents.map((agent) => [agent.agent_id, agent]));
  const agents = listed.agents.map((agent) => ({ ...stored.get(agent.agent_id), ...agent }));
  return { ...stats, agents, asked: listed.asked };
}

export function View({ params }) {
  const pages = usePages("page");
  const { cursor } = pages;
  const told = useResource((signal) => page(cursor, signal), [cursor]);
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Swarm</h1>
        <p>The agents, what they remember, how that grew, what came of it, whether it helps, and who asks what of whom.</p>
      </div>
    </div>
    <${Resource} resource=${told} what="agents">
      ${(swarm) => html`
        ${swarm.partial && html`<${Warning}><span>
          Agents are missing here, because their group of Redis does not answer: ${swarm.unanswered_groups.join(", ")}.
          ${" "}<a href=${link("health")}>Health</a> shows what is down.
        </span><//>`}
        <${Totals} told=${swarm} />
        ${swarm.agents.length === 0
          ? html`<div class="card"><${NothingStored} /></div>`
          : html`<${Agents} told=${swarm} pages=${pages} />
              <${Growth} agents=${swarm.agents} params=${params} />
              <${Regimes} agents=${swarm.agents} />
              <${Uplift} params=${params} />
              <${Verdict} agents=${swarm.agents} params=${params} />`}
        <${Asking} told=${swarm.asked} params=${params} />
      `}
    <//>
  </div>`;
}

function Totals({ told: { totals, dimension, vector_type: type } }) {
  return html`<dl class="figures" aria-label="The swarm in numbers">
    <div><dt>Agents</dt><dd>${count(totals.agents)}</dd></div>
    <div><dt>Memories</dt><dd>${count(totals.memories)}<small>${plural(totals.open_memories, "open one")}</small></dd></div>
    <div><dt>Concepts</dt><dd>${count(totals.concepts)}</dd></div>
    <div><dt>Stored</dt><dd>${bytes(totals.hash_bytes)}<small>of records, and ${bytes(totals.index_bytes)} of indexes</small></dd></div>
    <div><dt>Numbers in a state</dt><dd>${count(dimension)}<small>${type}</small></dd></div>
  </dl>`;
}
