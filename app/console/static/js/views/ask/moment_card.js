// The moment that is asked about.

import { html } from "../../../vendor/ui.js";
import { Reward, Time } from "../../parts/words.js";

export function MomentCard({ moment }) {
  const { agent_id: agent, id, product_id: product, regime, action, timestamp, reward } = moment;
  return html`<section class="card" aria-label="The moment asked about">
    <div class="card-head">
      <h2>${product} on <${Time} at=${timestamp} short /></h2>
      <span class="small mono">${agent} / ${id}</span>
    </div>
    <div class="card-body">
      <dl class="line-facts">
        <div><dt>Time</dt><dd><${Time} at=${timestamp} /></dd></div>
        <div><dt>Regime</dt><dd>${regime}</dd></div>
        <div><dt>Action taken</dt><dd>${action ?? "none"}</dd></div>
        <div><dt>Actual outcome</dt><dd><${Reward} value=${reward} /></dd></div>
        <div><dt>Known at</dt><dd><${Time} at=${moment.outcome_at} /></dd></div>
      </dl>
      ${Object.keys(moment.metadata ?? {}).length > 0 &&
      html`<details class="moment-metadata">
        <summary>Metadata</summary>
        <pre class="code" tabindex="0" aria-label="Metadata">${JSON.stringify(moment.metadata, null, 2)}</pre>
      </details>`}
    </div>
  </section>`;
}
