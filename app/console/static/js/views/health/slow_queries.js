// Commands that Redis found slow.

import { html } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { milliseconds, time } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { Empty, Resource, Warning } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { RunbookLink } from "./runbooks.js";

const COLUMNS = [
  { name: "at", title: "When", sort: (q) => q.at, of: (q) => time(q.at, { withSeconds: true }) },
  { name: "took", title: "In Redis", kind: "number", sort: (q) => q.took_ms, of: (q) => milliseconds(q.took_ms) },
  { name: "kind", title: "Kind", sort: (q) => q.kind, of: (q) => q.kind.replaceAll("_", " ") },
  { name: "agent", title: "Agent", kind: "text", sort: (q) => q.agent_id, of: (q) => q.agent_id ?? "–" },
  {
    name: "filters",
    title: "Filters",
    kind: "text",
    of: (q) => (Object.entries(q.filters).map(said).join(", ") || "none") + (q.cut ? " …" : ""),
  },
  { name: "node", title: "Node", of: (q) => q.node },
];

const TIMES = ["since", "until", "as_of", "recorded_by"];

/** A condition in words: times as dates. */
function said([name, value]) {
  const shown = TIMES.includes(name) && Number.isFinite(value) ? time(value) : typeof value === "string" ? value : JSON.stringify(value);
  return `${name.replaceAll("_", " ")} ${shown}`;
}

export function SlowQueries() {
  const found = useResource((signal) => call("GET", "/v1/slow-queries?limit=50", { signal }), []);
  return html`<section class="card" aria-label="Slow queries">
    <div class="card-head"><h2>Slow queries</h2><${RunbookLink} of="slow" /></div>
    <${Resource} resource=${found} what="slow queries">
      ${({ slow_queries: slow, silent_nodes: silent }) => html`
        ${silent.length > 0 && html`<${Warning}>No answer from ${silent.join(", ")}.<//>`}
        ${slow.length === 0
          ? html`<${Empty} title="Nothing was slow">
              <p>Redis notes here what takes longer than <code>MEMORY_SLOWLOG_SLOWER_THAN_US</code>.</p>
            <//>`
          : html`<${Table} caption="Slow queries" columns=${COLUMNS} rows=${slow} isTall
              rowKey=${(q) => `${q.node}-${q.at}-${q.took_ms}-${q.agent_id}`} />`}`}
    <//>
  </section>`;
}
