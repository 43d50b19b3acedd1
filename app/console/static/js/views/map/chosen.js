// The point that was clicked.

import { html } from "../../../vendor/ui.js";
import { link } from "../../core/route.js";
import { Reward, Time } from "../../parts/words.js";

export function Chosen({ agent, columns, at }) {
  const name = (column) => columns[column].names[columns[column].codes[at]];
  const id = columns.id[at];
  return html`<section class="card" aria-label="Chosen moment">
    <div class="card-head"><h2>${name("product_id")} on <${Time} at=${columns.timestamp[at]} short /></h2>
      <span class="small mono">${id}</span></div>
    <div class="card-body stack">
      <dl class="facts">
        <dt>Time</dt><dd><${Time} at=${columns.timestamp[at]} /></dd>
        <dt>Regime</dt><dd>${name("regime")}</dd>
        <dt>Action</dt><dd>${name("action") ?? "none"}</dd>
        <dt>Reward</dt><dd><${Reward} value=${columns.reward[at]} /></dd>
      </dl>
      <div><a class="button primary" href=${link("ask", { agent, id })}>Ask from here</a></div>
    </div>
  </section>`;
}
