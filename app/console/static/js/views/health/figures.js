// Cache, breakers and traffic, from /metrics.

import { html } from "../../../vendor/ui.js";
import { send } from "../../core/api.js";
import { count, share } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { Resource } from "../../parts/notice.js";
import { parseMetrics, total } from "./prometheus.js";
import { RunbookLink } from "./runbooks.js";

const EVERY_MS = 10000;
const BREAKERS = ["closed", "half open", "open"];

async function metrics(signal) {
  try {
    const response = await send("GET", "/metrics", { signal, accept: "text/plain" });
    return { samples: parseMetrics(await response.text()), refused: null };
  } catch (problem) {
    if (problem.status !== 403) throw problem;
    return { samples: [], refused: problem }; // a key for some agents: they name agents
  }
}

export function Figures() {
  const found = useResource(metrics, [], { everyMs: EVERY_MS });
  return html`<${Resource} resource=${found} what="figures">
    ${({ samples, refused }) => (refused ? html`<p class="small soft">${refused.message}</p>` : shown(samples))}
  <//>`;
}

function shown(samples) {
  const [hits, misses] = [total(samples, "redis_memory_cache_hits_total"), total(samples, "redis_memory_cache_misses_total")];
  const asked = (hits ?? 0) + (misses ?? 0);
  const breakers = samples.filter(({ name }) => name === "memory_breaker_state");
  const open = breakers.filter(({ value }) => value > 0);
  const requests = samples.filter(({ name }) => name === "http_requests_total");
  const failed = requests.filter(({ labels }) => labels.status === "5xx");
  const sum = (of) => of.reduce((all, { value }) => all + value, 0);
  return html`<dl class="figures" aria-label="Cache, breakers and traffic">
    <div><dt>Cache hits</dt><dd>${asked ? share(hits / asked, 1) : "–"}<small>${count(asked)} searches, ${count(total(samples, "memory_cache_entries"))} kept</small></dd></div>
    <div><dt>Breakers</dt><dd>${open.length ? `${count(open.length)} open` : "closed"}<small>${
      open.map(({ labels, value }) => `${labels.node}: ${BREAKERS[value]}`).join(", ") || html`<${RunbookLink} of="breaker" />`
    }</small></dd></div>
    <div><dt>Requests</dt><dd>${count(sum(requests))}<small>${count(sum(failed))} of them failed (5xx)</small></dd></div>
    <div><dt>Crowding</dt><dd>${share(total(samples, "memory_crowding_ratio"))}<small>of searches across agents found one of the ten most used memories</small></dd></div>
    <div><dt>Failovers</dt><dd>${count(total(samples, "memory_failovers_total"))}<small>since the service started</small></dd></div>
    <div><dt>Evicted keys</dt><dd>${count(total(samples, "redis_evicted_keys_total"))}<small>Redis dropped them for lack of memory: 0 is normal</small></dd></div>
  </dl>`;
}
