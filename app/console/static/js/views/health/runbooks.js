// Which runbook belongs to what.

import { html } from "../../../vendor/ui.js";
import { link } from "../../core/route.js";

const PAGES = {
  master: "master-failure",
  node: "replica-resync",
  index: "index-failures",
  cache_channel: "service-down",
  jobs: "background-job",
  memory: "out-of-memory",
  disk: "disk-full",
  breaker: "breaker-open",
  recall: "low-recall",
  slow: "slow-queries",
  service: "service-down",
};

export function RunbookLink({ of }) {
  const page = PAGES[of] ?? PAGES.service;
  return html`<a href=${link("runbook", { page })}>${page}</a>`;
}
