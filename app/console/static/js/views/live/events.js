// What happened, newest first.

import { html } from "../../../vendor/ui.js";
import { clock, count, fixed, milliseconds } from "../../core/format.js";
import { link } from "../../core/route.js";
import { Table } from "../../parts/table.js";
import { Reward } from "../../parts/words.js";

const COLUMNS = [
  { name: "at", title: "Time", of: (e) => clock(e.at) },
  { name: "kind", title: "What", of: (e) => html`<span class=${`kind ${e.kind}`}>${e.kind}</span>` },
  { name: "agent", title: "Agent", kind: "text", of: (e) => html`<a href=${link("ask", { agent: e.agent_id })}>${e.agent_id}</a>` },
  { name: "said", title: "Details", kind: "text", of: (e) => (SAID[e.kind] ?? SAID.store)(e) },
  { name: "took", title: "Took", kind: "number", of: (e) => (e.took_ms == null ? "–" : milliseconds(e.took_ms)) },
];

const found = (e) =>
  `${e.count > 1 ? `${count(e.count)} questions: ` : ""}${count(e.found)} found${e.nearest == null ? "" : `, nearest ${fixed(Math.max(0, e.nearest), 3)}`}${e.scope === "own" ? "" : `, of ${e.scope === "all" ? "all agents" : "the others"}`}${e.as_of ? ", of the past" : ""}`;

const SAID = {
  recall: found,
  estimate: found,
  store: (e) =>
    e.count > 1
      ? `${count(e.count)} memories`
      : html`<a href=${link("ask", { agent: e.agent_id, id: e.id })}>${e.id}</a> ${e.product_id === undefined ? "gone since" : html`${e.product_id} · ${e.regime} · ${e.action ?? "no action"} <${Reward} value=${e.reward} />`}`,
  outcome: (e) => (e.count > 1 ? `${count(e.count)} memories` : html`<a href=${link("ask", { agent: e.agent_id, id: e.id })}>${e.id}</a> <${Reward} value=${e.reward} />`),
  rating: (e) => (e.count > 1 ? `${count(e.count)} memories` : html`<a href=${link("ask", { agent: e.agent_id, id: e.id })}>${e.id}</a>`),
  delete: (e) => (e.count > 1 ? `${count(e.count)} memories` : e.id),
};

export function Events({ events }) {
  return html`<${Table} caption="Events" columns=${COLUMNS} rows=${events} rowKey=${(e) => e.key} isTall />`;
}
