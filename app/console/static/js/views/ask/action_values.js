// What each action led to, with how sure that is.

import { html } from "../../../vendor/ui.js";
import { coloursOf } from "../../core/colours.js";
import { count, fixed, share, signed } from "../../core/format.js";
import { Empty } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { Reward } from "../../parts/words.js";
import { Span } from "./span.js";

const nameOf = (action) => action ?? "no action";

export function ActionValues({ estimate }) {
  const actions = estimate.actions;
  return html`<section class="card" aria-label="Value by action">
    <div class="card-head">
      <h2>Value by action</h2>
      <span class="small">reward as stored, weighted by similarity</span>
    </div>
    ${actions.length === 0
      ? html`<${Empty} title="No outcome is known">
          <p>The moments found are open: their outcomes are not known yet.</p>
        <//>`
      : html`<${Table} caption="Value by action" rowKey=${(a) => String(a.action)} rows=${actions}
            columns=${columnsOf(actions)} />
          <${Legend} actions=${actions} />`}
  </section>`;
}

function columnsOf(actions) {
  const colours = coloursOf(actions.map(({ action }) => nameOf(action)));
  const domain = domainOf(actions);
  const has = (name) => actions.some((action) => action[name] != null);
  const columns = [
    {
      name: "action",
      title: "Action",
      of: ({ action }) => html`<${Swatch} colour=${colours.get(nameOf(action))} />${nameOf(action)}`,
    },
    { name: "value", title: "Value", kind: "number", of: (a) => html`<b><${Reward} value=${a.value} /></b>` },
    {
      name: "span",
      title: `${signed(domain[0], 2)} to ${signed(domain[1], 2)}`,
      of: (a) => html`<${Span} of=${a} domain=${domain} colour=${colours.get(nameOf(a.action))} />`,
    },
    { name: "q", title: "5 % to 95 %", kind: "number", of: (a) => `${signed(a.q05, 3)} … ${signed(a.q95, 3)}` },
  ];
  if (has("value_low")) {
    columns.push({
      name: "error",
      title: "± error",
      kind: "number",
      of: (a) => fixed(a.standard_error, 4),
    });
  }
  if (has("baseline")) {
    columns.push({
      name: "baseline",
      title: "Without similarity",
      kind: "number",
      of: (a) => html`<${Reward} value=${a.baseline?.value ?? a.baseline?.mean ?? null} />`,
    });
  }
  if (has("shrunk_value")) {
    columns.push({
      name: "shrunk",
      title: "Shrunk",
      kind: "number",
      of: (a) => html`<${Reward} value=${a.shrunk_value} />`,
    });
  }
  columns.push(
    { name: "win", title: "Wins", kind: "number", of: (a) => share(a.win_rate) },
    { name: "count", title: "Moments", kind: "number", of: (a) => count(a.count) },
    {
      name: "support",
      title: has("independent_n") ? "Independent" : "Effective",
      kind: "number",
      of: (a) => fixed(a.independent_n ?? a.effective_n, 1),
    },
  );
  return columns;
}

function domainOf(actions) {
  const ends = actions.flatMap((a) => [
    0, a.q05, a.q95, a.value, a.value_low, a.value_high, a.interval?.low, a.interval?.high,
  ]).filter(Number.isFinite);
  const low = Math.min(...ends);
  const high = Math.max(...ends);
  const room = (high - low || 1) * 0.04;
  return [low - room, high + room];
}

function Swatch({ colour }) {
  return html`<span class="swatch" style=${{ background: colour }}></span>`;
}

function Legend({ actions }) {
  const interval = actions.find((a) => a.interval)?.interval;
  return html`<p class="card-body small soft">
    Dot: the value. Thin line: 5 % to 95 % of the rewards.
    ${actions.some((a) => a.value_low != null) && " Thick line: where the true mean lies, with 95 % above its lower and below its upper end."}
    ${interval && ` Brackets: the outcome lies within with ${share(interval.level)}.`}
    ${" "}Vertical line: 0.
  </p>`;
}
