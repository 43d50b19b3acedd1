// The moments found, nearest first.

import { html } from "../../../vendor/ui.js";
import { link, route } from "../../core/route.js";
import { count, plural } from "../../core/format.js";
import { Table } from "../../parts/table.js";
import { Distance, Reward, Time } from "../../parts/words.js";

export function Neighbours({ found: { memories, overlapping }, asker }) {
  const hasOthers = memories.some(({ agent_id: owner }) => owner !== asker);
  const columns = [
    { name: "distance", title: "Distance", kind: "number", sort: (m) => m.distance, of: (m) => html`<${Distance} value=${m.distance} />` },
    { name: "time", title: "Date", sort: (m) => m.timestamp, of: (m) => html`<a href=${link("ask", askFrom(m, asker))} title=${`Ask from ${m.id}`}><${Time} at=${m.timestamp} short /></a>` },
    ...(hasOthers ? [{ name: "agent", title: "Agent", kind: "text", sort: (m) => m.agent_id, of: (m) => m.agent_id }] : []),
    { name: "product", title: "Product", kind: "text", sort: (m) => m.product_id, of: (m) => m.product_id },
    { name: "regime", title: "Regime", kind: "text", sort: (m) => m.regime, of: (m) => m.regime },
    { name: "action", title: "Action", kind: "text", sort: (m) => m.action, of: (m) => m.action ?? "none" },
    { name: "reward", title: "Reward", kind: "number", sort: (m) => m.reward, of: (m) => html`<${Reward} value=${m.reward} />` },
    { name: "known", title: "Known at", sort: (m) => m.outcome_at, of: (m) => html`<${Time} at=${m.outcome_at} short />` },
  ];
  return html`<section class="card" aria-label="Nearest moments">
    <div class="card-head">
      <h2>Nearest moments</h2>
      <span class="small">${plural(memories.length, "moment")}${overlapping ? `, ${count(overlapping)} that overlap with them left out` : ""}. A date asks from there.</span>
    </div>
    <${Table} caption="Nearest moments" columns=${columns} rows=${memories} isTall
      rowKey=${(m) => `${m.agent_id}/${m.id}`} />
  </section>`;
}

function askFrom(memory, asker) {
  const { agent_id: owner, id } = memory;
  return {
    ...route.value.params, agent: asker, id, of: owner === asker ? null : owner, v: null, as_of: null,
  };
}
