// What each action led to, with how sure that is.

import { html } from "../../../vendor/ui.js";
import { coloursOf } from "../../core/colours.js";
import { count, fixed, share, signed } from "../../core/format.js";
import { Empty } from "../../parts/notice.js";
import { Table } from "../../parts/table.js";
import { Reward } from "../../parts/words.js";
import { Span } from "./span.js";

const nameOf = (action) => action ?? "no action";

export function ActionValues({ estimate, onAgain }) {
  const { actions } = estimate;
  return html`<section class="card" aria-label="Value by action">
    <div class="card-head">
      <h2>Value by action</h2>
      <span class="small">rewards in the unit in which they were stored, weighted by similarity</span>
    </div>
    ${actions.length === 0
      ? html`<${Empty} title="No outcome is known">
          <p>
            The moments found are open: nobody has stored what came of them. That is done with
            ${" "}<code>POST /v1/episodic/{agent_id}/{id}/outcome</code>.
          </p>
        <//>`
      : html`<${Table} caption="Value by action" rowKey=${(a) => String(a.action)} rows=${actions}
            columns=${columnsOf(actions)} />
          <div class="card-body stack">
            <${Legend} actions=${actions} />
            ${actions.every((a) => a.shrunk_value == null) && html`<${Uncorrected} onAgain=${onAgain} />`}
            <${Meanings} />
          </div>`}
  </section>`;
}

function columnsOf(actions) {
  const colours = coloursOf(actions.map(({ action }) => nameOf(action)));
  const domain = domainOf(actions);
  return [
    {
      name: "action",
      title: "Action",
      kind: "text",
      of: ({ action }) => html`<${Swatch} colour=${colours.get(nameOf(action))} />${nameOf(action)}`,
    },
    {
      name: "value",
      title: "Mean reward ± error",
      kind: "number",
      of: (a) => html`<b><${Reward} value=${a.value} /></b>${a.standard_error != null && html`<br /><span class="soft">± ${fixed(a.standard_error, 4)}</span>`}`,
    },
    {
      name: "span",
      title: `${signed(domain[0], 2)} to ${signed(domain[1], 2)}`,
      of: (a) => html`<${Span} of=${a} domain=${domain} colour=${colours.get(nameOf(a.action))} />`,
    },
    { name: "q", title: "5 % to 95 %", kind: "number", of: (a) => `${signed(a.q05, 3)} to ${signed(a.q95, 3)}` },
    {
      name: "baseline",
      title: "All moments",
      kind: "number",
      of: (a) => html`<${Reward} value=${a.baseline?.value} missing="–" />`,
    },
    {
      name: "shrunk",
      title: "Shrunk",
      kind: "number",
      of: (a) => html`<${Reward} value=${a.shrunk_value} missing="–" />`,
    },
    { name: "win", title: "Wins", kind: "number", of: (a) => share(a.win_rate) },
    { name: "support", title: "Moments, independent", kind: "number", of: (a) => `${count(a.count)}, ${fixed(a.independent_n, 1)}` },
  ];
}

/** The range of the drawing. A confidence interval of the mean may go beyond it: with two moments it
 * has hardly an end. */
function domainOf(actions) {
  const ends = actions.flatMap((a) => [0, a.q05, a.q95, a.value, a.interval?.low, a.interval?.high]).filter(Number.isFinite);
  const low = Math.min(...ends);
  const high = Math.max(...ends);
  const room = (high - low || 1) * 0.04;
  return [low - room, high + room];
}

function Swatch({ colour }) {
  return html`<span class="swatch" style=${{ background: colour }}></span>`;
}

function Legend({ actions }) {
  const { level } = actions[0].interval;
  return html`<p class="small soft">
    Dot: the mean. Thin line: 5 % to 95 % of the rewards.
    ${actions.some((a) => a.value_low != null) && " Thick line: the 90 % confidence interval of the mean."}
    ${` Brackets: where the next outcome lies, ${share(level)} of the time.`}
    ${" "}Dashed line: 0.
  </p>`;
}

function Uncorrected({ onAgain }) {
  return html`<p class="small">
    Not corrected by past estimates yet: that takes 20 past estimates of this agent with a known outcome, which the
    service computes after the first question. <button class="button" onClick=${onAgain}>Ask again</button>
  </p>`;
}

const MEANINGS = [
  ["Mean reward ± error", "The mean reward of the moments found, nearer ones counting more, and how far it may be off by chance (one standard error)."],
  ["All moments", "The mean reward of the action in all memories in question, similar or not: the number to beat."],
  ["Shrunk", "The mean, pulled towards that of all moments as far as past estimates of this agent turned out too bold. The number to act on."],
  ["Wins", "The share of the rewards above 0, nearer moments counting more."],
  ["Moments, independent", "The support: how many moments there are, and how many independent outcomes would say as much. Outcomes that overlap in time share part of their evidence."],
];

function Meanings() {
  return html`<details>
    <summary>What the columns mean</summary>
    <dl class="facts">${MEANINGS.map(([name, text]) => html`<dt>${name}</dt><dd>${text}</dd>`)}</dl>
  </details>`;
}
