// The indexes: their kind, how far they are built, what they take.

import { html } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { bytes, count, plural, share } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { Resource } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { Status } from "../../parts/words.js";
import { RunbookLink } from "./runbooks.js";

const LIMIT = 200;

const COLUMNS = [
  { name: "name", title: "Index", kind: "text", sort: (i) => i.name, of: (i) => html`<span class="mono" title=${i.name}>${i.name}</span>` },
  { name: "status", title: "State", sort: (i) => i.status, of: (i) => html`<${Status} value=${i.status} />` },
  {
    name: "kind",
    title: "Kind",
    sort: (i) => i.algorithm,
    of: (i) => (i.moving_to ? `${i.algorithm}, ${share(i.moving_progress)} moved to ${i.moving_to}` : (i.algorithm ?? "–")),
  },
  { name: "documents", title: "Memories", kind: "number", sort: (i) => i.documents, of: (i) => count(i.documents) },
  { name: "progress", title: "Indexed", kind: "number", sort: (i) => i.progress, of: (i) => share(i.progress) },
  { name: "failures", title: "Failures", kind: "number", sort: (i) => i.failures, of: (i) => count(i.failures) },
  { name: "bytes", title: "Size", kind: "number", sort: (i) => i.total_bytes, of: (i) => bytes(i.total_bytes) },
];

export function Indexes() {
  const stats = useResource((signal) => call("GET", `/v1/stats?limit=${LIMIT}`, { signal }), []);
  return html`<section class="card" aria-label="Indexes">
    <div class="card-head"><h2>Indexes</h2><${RunbookLink} of="index" /></div>
    <${Resource} resource=${stats} what="indexes">
      ${({ indexes, recall, next_cursor: next }) => html`
        <${Table} caption="Indexes" columns=${COLUMNS} rows=${indexes} rowKey=${(i) => i.name} isTall />
        ${next && html`<p class="more">The first ${count(LIMIT)} agents' indexes: GET /v1/stats has the others.</p>`}
        <${RecallGuard} recall=${recall} />`}
    <//>
  </section>`;
}

function RecallGuard({ recall }) {
  if (!recall.length) return null;
  return html`<div class="card-body small soft stack">
    ${recall.map(
      (r) => html`<p key=${r.index_kind}>
        Approximate searches of ${r.index_kind} memory keep ${plural(r.ef_runtime, "candidate")}.
        ${r.recall_at_k === null ? " How many of the true neighbours they find is not measured yet." : ` They find ${share(r.recall_at_k, 1)} of the true neighbours, by ${plural(r.samples, "comparison")}.`}
        ${" "}<${RunbookLink} of="recall" />
      </p>`,
    )}
  </div>`;
}
