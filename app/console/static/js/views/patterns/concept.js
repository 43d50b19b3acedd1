// One concept: its statistics, the reason for its status, its past and its members.

import { html } from "../../../vendor/ui.js";
import { call, path } from "../../core/api.js";
import { count, fixed, share, signed } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { change, link } from "../../core/route.js";
import { Resource } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { Reward, Time } from "../../parts/words.js";
import { textOf } from "./concepts.js";
import { History } from "./history.js";
import { Promotion } from "./promotion.js";

export function Concept({ id, asOf }) {
  const concept = useResource(
    (signal) => {
      const when = asOf === null ? "" : `?as_of=${asOf}`;
      return call("GET", path`/v1/semantic/${id}` + when, { signal });
    },
    [id, asOf],
  );
  return html`<section class="card" aria-label="Concept">
    <div class="card-head">
      <h2 class="mono">${id}</h2>
      <button class="button plain" onClick=${() => change({ id: null })}>Close</button>
    </div>
    <${Resource} resource=${concept} what="the concept">
      ${(told) => html`<${Told} concept=${told} />`}
    <//>
  </section>`;
}

function Told({ concept }) {
  const { metadata } = concept;
  const actions = isObject(metadata.actions) ? Object.entries(metadata.actions).filter(([, of]) => isObject(of)) : [];
  const members = Array.isArray(metadata.episodes) ? metadata.episodes.filter(isMember) : [];
  return html`<div class="card-body stack">
    <dl class="line-facts">
      <div><dt>Status</dt><dd><${Promotion} status=${metadata.status} /></dd></div>
      <div><dt>Regime</dt><dd>${concept.regime_name}</dd></div>
      <div><dt>Sharpe ratio</dt><dd>${fixed(concept.sharpe_ratio, 3)}</dd></div>
      <div><dt>Wins</dt><dd>${share(concept.win_rate)}</dd></div>
      <div><dt>Made from</dt><dd>${textOf(metadata.agent_id ?? metadata.product_id)}</dd></div>
      <div><dt>Created</dt><dd><${Time} at=${concept.created_at} /></dd></div>
      <div><dt>Times found</dt><dd>${count(concept.access_count)}</dd></div>
    </dl>
    ${typeof metadata.status_reason === "string" && html`<p><b>Why:</b> ${metadata.status_reason}.</p>`}
    <${History} concept=${concept} />
    ${actions.length > 0 && html`<h3>Actions</h3><${Table} caption="Actions" columns=${ACTIONS} rows=${actions} rowKey=${([name]) => name} />`}
    ${members.length > 0 && html`<h3>Members nearest to its centre</h3>
      <ul class="members">${members.map(
        ({ agent_id: agent, id }) => html`<li key=${`${agent}/${id}`}><a href=${link("ask", { agent, id })}>${id}</a></li>`,
      )}</ul>`}
    <details><summary>Metadata</summary>
      <pre class="code" tabindex="0" aria-label="Metadata">${JSON.stringify(metadata, null, 2)}</pre>
    </details>
  </div>`;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isMember = (value) => isObject(value) && typeof value.agent_id === "string" && typeof value.id === "string";
const numberOf = (value) => (typeof value === "number" ? value : null);

const ACTIONS = [
  { name: "action", title: "Action", kind: "text", of: ([name]) => name },
  { name: "n", title: "Memories", kind: "number", of: ([, of]) => count(numberOf(of.n)) },
  { name: "mean", title: "Mean reward", kind: "number", of: ([, of]) => html`<${Reward} value=${numberOf(of.mean_reward ?? of.mean)} />` },
  { name: "win", title: "Wins", kind: "number", of: ([, of]) => share(numberOf(of.win_rate)) },
  { name: "sharpe", title: "Sharpe ratio", kind: "number", of: ([, of]) => signed(numberOf(of.sharpe_ratio), 2) },
];
