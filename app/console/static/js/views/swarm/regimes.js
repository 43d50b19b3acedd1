// The mean reward of each agent in each regime.

import { html } from "../../../vendor/ui.js";
import { call, path } from "../../core/api.js";
import { count, share, signed } from "../../core/format.js";
import { inTurns, useResource } from "../../core/resource.js";
import { Resource } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";

const AGENTS = 24;
const REGIMES = 12;

export function Regimes({ agents }) {
  const filled = agents.filter(({ memories }) => memories);
  const shown = [...filled].sort((a, b) => b.memories - a.memories).slice(0, AGENTS);
  const names = shown.map(({ agent_id: name }) => name);
  const resource = useResource(
    (signal) => inTurns(names, (name) => call("GET", path`/v1/agents/${name}`, { signal })),
    [names.join("\n")],
  );
  return html`<section class="card" aria-label="Reward by regime">
    <div class="card-head">
      <h2>Mean reward by regime</h2>
      <span class="small">${filled.length > AGENTS ? `the ${AGENTS} largest agents of this page; ` : ""}of each agent's latest memories with an outcome</span>
    </div>
    <${Resource} resource=${resource} what="rewards">${(found) => html`<${Matrix} found=${found} />`}<//>
  </section>`;
}

function Matrix({ found }) {
  const counts = new Map();
  for (const { regimes } of found) {
    for (const { regime, memories } of regimes) counts.set(regime, (counts.get(regime) ?? 0) + memories);
  }
  const names = [...counts].sort(([, a], [, b]) => b - a).slice(0, REGIMES).map(([name]) => name);
  const all = found.flatMap(({ regimes }) => regimes.map(({ mean_reward: mean }) => Math.abs(mean)));
  const largest = Math.max(...all, 1e-12);
  const of = (agent, name) => agent.regimes.find(({ regime }) => regime === name);
  const columns = [
    { name: "agent", title: "Agent", kind: "text", sort: (a) => a.agent_id, of: (a) => a.agent_id },
    ...names.map((name) => ({
      name: `regime ${name}`,
      title: name,
      kind: "number",
      sort: (a) => of(a, name)?.mean_reward ?? null,
      of: (a) => html`<${Cell} found=${of(a, name)} largest=${largest} />`,
    })),
  ];
  return html`<${Table} caption="Mean reward by regime" columns=${columns} rows=${found} rowKey=${(a) => a.agent_id} />`;
}

/** The stronger the colour, the larger the mean; its text says the number. */
function Cell({ found, largest }) {
  if (!found) return "–";
  const { mean_reward: mean, memories, win_rate: wins } = found;
  const strength = Math.round((Math.abs(mean) / largest) * 22);
  const colour = mean > 0 ? "var(--gain)" : "var(--loss)";
  return html`<span class="cell" title=${`${count(memories)} memories, ${share(wins)} wins`}
    style=${{ background: `color-mix(in srgb, ${colour} ${strength}%, transparent)` }}>${signed(mean, 3)}</span>`;
}
