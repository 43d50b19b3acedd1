// The nodes of Redis: role, lag, memory against its limit.

import { html } from "../../../vendor/ui.js";
import { bytes, share } from "../../core/format.js";
import { Table } from "../../parts/table.js";
import { Status } from "../../parts/words.js";
import { RunbookLink } from "./runbooks.js";

const COLUMNS = [
  { name: "name", title: "Node", of: ([name]) => name },
  { name: "status", title: "State", of: ([, part]) => html`<${Status} value=${part.status} />` },
  { name: "role", title: "Role", of: ([, part]) => part.role ?? "–" },
  { name: "address", title: "Address", of: ([, part]) => html`<span class="mono">${part.address ?? "–"}</span>` },
  { name: "lag", title: "Lag", kind: "number", of: ([, part]) => bytes(part.lag_bytes) },
  {
    name: "memory",
    title: "Memory",
    kind: "number",
    of: ([, { used_memory_bytes: used, maxmemory_bytes: limit }]) =>
      limit ? `${bytes(used)}, ${share(used / limit)} of ${bytes(limit)}` : bytes(used),
  },
  { name: "problem", title: "Problem", kind: "text", of: ([, part]) => part.detail ?? part.problem ?? "none" },
  {
    name: "runbook",
    title: "Runbook",
    of: ([, part]) => html`<${RunbookLink} of=${part.role === "master" ? "master" : "node"} />`,
  },
];

export function Nodes({ nodes }) {
  return html`<section class="card" aria-label="Nodes">
    <div class="card-head"><h2>Nodes</h2><${RunbookLink} of="memory" /></div>
    <${Table} caption="Nodes" columns=${COLUMNS} rows=${nodes} rowKey=${([name]) => name} />
  </section>`;
}
