// The parts besides nodes and background jobs, with all that they say of themselves.

import { html } from "../../../vendor/ui.js";
import { Table } from "../../parts/table.js";
import { Status } from "../../parts/words.js";
import { RunbookLink } from "./runbooks.js";

function said({ status, detail, ...more }) {
  if (detail) return detail;
  const words = Object.entries(more)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  return words.join(", ") || "–";
}

const COLUMNS = [
  { name: "name", title: "Part", of: ([name]) => name.replaceAll("_", " ") },
  { name: "status", title: "State", of: ([, part]) => html`<${Status} value=${part.status} />` },
  { name: "said", title: "Details", kind: "text", of: ([, part]) => html`<span title=${said(part)}>${said(part)}</span>` },
  { name: "runbook", title: "Runbook", of: ([name]) => html`<${RunbookLink} of=${name} />` },
];

export function Parts({ parts }) {
  return html`<section class="card" aria-label="Parts">
    <div class="card-head"><h2>Parts</h2></div>
    <${Table} caption="Parts" columns=${COLUMNS} rows=${parts} rowKey=${([name]) => name} />
  </section>`;
}
