// Concepts as a table.

import { html } from "../../../vendor/ui.js";
import { ago, count, fixed, share } from "../../core/format.js";
import { link, route } from "../../core/route.js";
import { Table } from "../../parts/table.js";
import { Time } from "../../parts/words.js";
import { Promotion } from "./promotion.js";

const COLUMNS = [
  {
    name: "id",
    title: "Concept",
    kind: "text",
    of: (c) => html`<a class="mono" title=${c.id} href=${link("patterns", { ...route.value.params, id: c.id })}>${c.id}</a>`,
  },
  { name: "kind", title: "Kind", of: (c) => c.memory_type.toLowerCase() },
  { name: "regime", title: "Regime", kind: "text", of: (c) => c.regime_name },
  { name: "owner", title: "Made from", kind: "text", of: (c) => textOf(c.metadata.agent_id ?? c.metadata.product_id) },
  { name: "state", title: "Status", of: (c) => html`<${Promotion} status=${c.metadata.status} />` },
  { name: "sharpe", title: "Sharpe ratio", kind: "number", of: (c) => fixed(c.sharpe_ratio, 2) },
  { name: "win", title: "Wins", kind: "number", of: (c) => share(c.win_rate) },
  { name: "n", title: "Memories", kind: "number", of: (c) => (Number.isFinite(c.metadata.n) ? count(c.metadata.n) : "–") },
  { name: "found", title: "Times found", kind: "number", of: (c) => (c.access_count === null ? "–" : count(c.access_count)) },
  { name: "last", title: "Last found", of: (c) => (c.last_accessed === null ? "never" : ago(c.last_accessed)) },
  { name: "created", title: "Created", of: (c) => html`<${Time} at=${c.created_at} short />` },
];

/** Metadata is whatever was stored: only a text is shown as one. */
export function textOf(value) {
  return typeof value === "string" ? value : "–";
}

export function Concepts({ concepts, chosen }) {
  return html`<${Table} caption="Concepts" columns=${COLUMNS} rows=${concepts} rowKey=${(c) => c.id}
    isChosen=${(c) => c.id === chosen} />`;
}
