// Health: each part of the service, and the page that says what to do when it fails.

import { html } from "../../../vendor/ui.js";
import { call, ROOT } from "../../core/api.js";
import { bytes, count, share } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { key } from "../../core/session.js";
import { Resource } from "../../parts/notice.js";
import { Status } from "../../parts/words.js";
import { Figures } from "./figures.js";
import { Indexes } from "./indexes.js";
import { Jobs } from "./jobs.js";
import { Nodes } from "./nodes.js";
import { Parts } from "./parts.js";
import { SlowQueries } from "./slow_queries.js";

const EVERY_MS = 5000;

export function View() {
  const ready = useResource(readiness, [], { everyMs: EVERY_MS });
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Health</h1>
        <p>The current state of every part, updated every 5 seconds, with a link to its runbook.</p>
      </div>
    </div>
    <${Resource} resource=${ready} what="the parts">
      ${(report) => html`<${Report} report=${report} />`}
    <//>
    <${Figures} />
    <${Indexes} />
    <${SlowQueries} />
  </div>`;
}

/** The report of /readyz, which is a report with status 503 too. */
async function readiness(signal) {
  const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
  const response = await fetch(new URL("readyz", ROOT), { signal, headers, cache: "no-store" });
  const told = await response.json().catch(() => null);
  return told?.parts ? told : call("GET", "/readyz", { signal });
}

function Report({ report }) {
  const { nodes, jobs, others } = sorted(report.parts);
  const masters = nodes.map(([, part]) => part).filter(({ role }) => role === "master");
  const sum = (name) => masters.reduce((all, part) => all + (part[name] ?? 0), 0);
  const limit = masters.every((part) => part.maxmemory_bytes) && sum("maxmemory_bytes");
  const failing = Object.values(report.parts).filter(({ status }) => status !== "ok").length;
  return html`
    <dl class="figures" aria-label="The service in short">
      <div><dt>Service</dt><dd><${Status} value=${report.status} /><small>${
        failing ? `${count(failing)} of its parts not ok` : "every part is ok"
      }</small></dd></div>
      <div><dt>Nodes</dt><dd>${count(nodes.filter(([, part]) => part.status === "ok").length)}<small>of ${count(nodes.length)} answer</small></dd></div>
      <div><dt>Memory of ${masters.length > 1 ? "the masters" : "the master"}</dt><dd>${bytes(sum("used_memory_bytes"))}<small>${
        limit ? `${share(sum("used_memory_bytes") / limit)} of ${bytes(limit)}` : "no limit is set"
      }</small></dd></div>
      <div><dt>Redis</dt><dd>${masters[0]?.redis_version ?? "–"}<small>version</small></dd></div>
    </dl>
    <${Nodes} nodes=${nodes} />
    <div class="halves">
      <${Parts} parts=${others} />
      ${jobs && html`<${Jobs} part=${jobs} />`}
    </div>
  `;
}

const NODE = /(^|\/)(master|replica)/; // one that does not answer tells neither role nor address

/** `jobs` lists the background jobs. */
function sorted(parts) {
  const nodes = [];
  const others = [];
  let jobs = null;
  for (const [name, part] of Object.entries(parts)) {
    if (name === "jobs" || part.jobs) jobs = part;
    else if (part.role || part.address || NODE.test(name)) nodes.push([name, part]);
    else others.push([name, part]);
  }
  return { nodes, jobs, others };
}

