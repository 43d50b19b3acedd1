// Background jobs with their last success.

import { html } from "../../../vendor/ui.js";
import { ago, time } from "../../core/format.js";
import { Table } from "../../parts/table.js";
import { Status } from "../../parts/words.js";
import { RunbookLink } from "./runbooks.js";

const COLUMNS = [
  { name: "name", title: "Job", of: ([name]) => name },
  { name: "status", title: "State", of: ([, job]) => html`<${Status} value=${job.status} />` },
  {
    name: "success",
    title: "Last success",
    of: ([, { last_success: at }]) => html`<span title=${time(at, { withSeconds: true })}>${at == null ? "not yet" : ago(at)}</span>`,
  },
  { name: "detail", title: "Problem", kind: "text", of: ([, job]) => job.detail ?? job.problem ?? "none" },
];

export function Jobs({ part }) {
  return html`<section class="card" aria-label="Background jobs">
    <div class="card-head">
      <h2>Background jobs</h2>
      <span><${Status} value=${part.status} />${" "}<${RunbookLink} of="jobs" /></span>
    </div>
    <${Table} caption="Background jobs" columns=${COLUMNS} rows=${Object.entries(part.jobs ?? {})}
      rowKey=${([name]) => name} />
  </section>`;
}
