// What the lassoed moments have in common.

import { html } from "../../../vendor/ui.js";
import { count, plural, share, signed } from "../../core/format.js";
import { link } from "../../core/route.js";
import { mean, quantile } from "../../core/statistics.js";
import { Empty } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { Reward, Time } from "../../parts/words.js";

const LISTED = 100;
const NAMED = 6;

export function Selection({ agent, columns, rows, onClear }) {
  const rewards = rows.map((i) => columns.reward[i]).filter((value) => value !== null);
  return html`<section class="card" aria-label="Selected moments">
    <div class="card-head">
      <h2>${plural(rows.length, "selected moment")}</h2>
      <button class="button plain" onClick=${onClear}>Clear</button>
    </div>
    ${rows.length === 0
      ? html`<${Empty} title="No moment lies inside"><p>Draw around some points, or remove a filter.</p><//>`
      : html`<div class="card-body stack">
          <dl class="line-facts">
            <div><dt>Mean reward</dt><dd><${Reward} value=${mean(rewards)} /></dd></div>
            <div><dt>5 % to 95 %</dt><dd>${signed(quantile(rewards, 0.05), 3)} … ${signed(quantile(rewards, 0.95), 3)}</dd></div>
            <div><dt>Wins</dt><dd>${rewards.length ? share(rewards.filter((r) => r > 0).length / rewards.length) : "–"}</dd></div>
            <div><dt>With an outcome</dt><dd>${count(rewards.length)}</dd></div>
          </dl>
          <dl class="facts">
            ${[["Regimes", "regime"], ["Products", "product_id"], ["Actions", "action"]].map(
              ([title, column]) => html`<dt>${title}</dt><dd>${shares(columns[column], rows)}</dd>`,
            )}
          </dl>
        </div>
        <${Table} caption="Selected moments" isTall rows=${rows.slice(0, LISTED)} rowKey=${(i) => columns.id[i]}
          columns=${listed(agent, columns)} />
        ${rows.length > LISTED && html`<p class="more">The first ${count(LISTED)} of ${count(rows.length)}.</p>`}`}
  </section>`;
}

function listed(agent, columns) {
  const name = (column) => (i) => columns[column].names[columns[column].codes[i]] ?? "none";
  return [
    { name: "time", title: "Date", sort: (i) => columns.timestamp[i], of: (i) => html`<a href=${link("ask", { agent, id: columns.id[i] })}><${Time} at=${columns.timestamp[i]} short /></a>` },
    { name: "product", title: "Product", kind: "text", sort: name("product_id"), of: name("product_id") },
    { name: "regime", title: "Regime", kind: "text", sort: name("regime"), of: name("regime") },
    { name: "action", title: "Action", kind: "text", sort: name("action"), of: name("action") },
    { name: "reward", title: "Reward", kind: "number", sort: (i) => columns.reward[i], of: (i) => html`<${Reward} value=${columns.reward[i]} />` },
  ];
}

function shares({ names, codes }, rows) {
  const counts = new Map();
  for (const i of rows) counts.set(codes[i], (counts.get(codes[i]) ?? 0) + 1);
  const most = [...counts].sort(([, a], [, b]) => b - a);
  const said = most.slice(0, NAMED).map(([code, held]) => `${names[code] ?? "none"} ${share(held / rows.length)}`);
  if (most.length > NAMED) said.push(`${count(most.length - NAMED)} more`);
  return said.join(", ");
}
