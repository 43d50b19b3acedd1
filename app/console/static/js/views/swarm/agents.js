// The agents of one page.

import { html } from "../../../vendor/ui.js";
import { ago, bytes, count, share, time } from "../../core/format.js";
import { link } from "../../core/route.js";
import { Pager } from "../../parts/pager.js";
import { Table } from "../../parts/table.js";
import { Status, Time } from "../../parts/words.js";

export function Agents({ told, pages }) {
  const indexes = new Map(told.indexes.map((index) => [index.name, index]));
  const largest = Math.max(1, ...told.agents.map(({ memories }) => memories ?? 0));
  const columns = [
    {
      name: "agent",
      title: "Agent",
      kind: "text",
      sort: (a) => a.agent_id,
      of: (a) => html`<a href=${link("ask", { agent: a.agent_id })}>${a.agent_id}</a>`,
    },
    { name: "memories", title: "Memories", kind: "number", sort: (a) => a.memories, of: (a) => count(a.memories) },
    { name: "share", title: "Compared with the largest", of: (a) => html`<${Bar} share=${(a.memories ?? 0) / largest} />` },
    { name: "open", title: "No outcome yet", kind: "number", sort: (a) => a.open_memories, of: (a) => count(a.open_memories) },
    { name: "day", title: "Stored in 24 h", kind: "number", sort: (a) => a.stored_24h, of: (a) => (a.stored_24h ? `+${count(a.stored_24h)}` : count(a.stored_24h)) },
    { name: "stored", title: "Last stored", sort: (a) => a.stored_at, of: (a) => html`<span title=${time(a.stored_at)}>${ago(a.stored_at)}</span>` },
    { name: "latest", title: "Latest moment", sort: (a) => a.latest, of: (a) => html`<${Time} at=${a.latest} short />` },
    { name: "bytes", title: "Size", kind: "number", sort: (a) => a.hash_bytes, of: (a) => bytes(a.hash_bytes) },
    { name: "index", title: "Index", of: (a) => html`<${IndexOf} index=${indexes.get(a.index)} />` },
    { name: "map", title: "Map", of: (a) => html`<a href=${link("map", { agent: a.agent_id })}>Map</a>` },
  ];
  return html`<section class="card" aria-label="Agents">
    <div class="card-head"><h2>Agents</h2><span class="small">an agent's name opens its moments</span></div>
    <${Table} caption="Agents" columns=${columns} rows=${told.agents} rowKey=${(a) => a.agent_id} first="memories" />
    <${Pager} pages=${pages} next=${told.next_cursor} />
  </section>`;
}

function Bar({ share: part }) {
  return html`<span class="bar" aria-hidden="true"><span style=${{ width: `${part * 100}%` }}></span></span>`;
}

function IndexOf({ index }) {
  if (!index || index.status === "missing") return html`<${Status} value="missing" />`;
  if (index.moving_to) return `${index.algorithm} to ${index.moving_to}, ${share(index.moving_progress)}`;
  return index.status === "ready" ? index.algorithm : `${index.algorithm}, ${share(index.progress)} built`;
}
