// What the memory adds to decisions: each arm's rewards, and the uplift with its interval.

import { html } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { count, share, signed } from "../../core/format.js";
import { usePages } from "../../core/pages.js";
import { useResource } from "../../core/resource.js";
import { change, link } from "../../core/route.js";
import { Empty, Resource } from "../../parts/notice.js";
import { Pager } from "../../parts/pager.js";
import { Table } from "../../parts/table.js";
import { VerdictBadge } from "./verdict_badge.js";

const PAGE = 100;
const ARMS = [["memory", "Memory"], ["no_memory", "No memory"], ["placebo", "Placebo"]];
const AGAINST = [["no_memory", "Against no memory"], ["placebo", "Against a placebo"]];

export function Uplift({ params }) {
  const pages = usePages("deciders");
  const { cursor } = pages;
  const told = useResource(
    (signal) => {
      const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      return call("GET", `/v1/uplift?limit=${PAGE}${after}`, { signal });
    },
    [cursor],
  );
  return html`<section class="card" aria-label="Uplift">
    <div class="card-head">
      <h2>What the memory adds to decisions</h2>
      <span class="small">rewards of decisions with the memory, without it, and with a placebo; an agent's name opens its products and regimes</span>
    </div>
    <${Resource} resource=${told} what="decisions">
      ${({ agents, level, next_cursor: next }) => html`
        ${agents.length === 0
          ? html`<${NoDecisions} isLast=${!next && pages.isFirst} />`
          : html`<${Table} caption="Uplift by agent" rows=${agents} rowKey=${(a) => a.agent_id}
                isChosen=${(a) => a.agent_id === params.decider}
                columns=${columnsOf("Agent", (a) => a.agent_id, (a) => html`<a href=${link("swarm", { ...params, decider: a.agent_id })}>${a.agent_id}</a>`)} />
              <p class="card-body small soft">Each interval contains the true uplift at all times at once, with ${share(level)}.
                An arm's decisions should be as many as are due: otherwise some are not posted, and no figure is fair.</p>`}
        <${Pager} pages=${pages} next=${next} />`}
    <//>
    ${params.decider && html`<${Slices} agent=${params.decider} />`}
  </section>`;
}

function NoDecisions({ isLast }) {
  if (!isLast) return html`<${Empty} title="No agent of this page has closed decisions" />`;
  return html`<${Empty} title="No decision has been closed yet">
    <p>Ask with <code>"recall": true</code>, store what the agent does under the answer's <code>recall_id</code>, and
      close it. Set <code>MEMORY_ARM_NO_MEMORY_SHARE</code> to compare with decisions without the memory.</p>
  <//>`;
}

/** One agent's decisions by product and by regime. */
function Slices({ agent }) {
  const told = useResource(
    (signal) => call("GET", `/v1/uplift?agent_id=${encodeURIComponent(agent)}`, { signal }),
    [agent],
  );
  return html`<div class="card-head">
      <h2>${agent} by product and regime</h2>
      <button class="button plain" onClick=${() => change({ decider: null })}>Close</button>
    </div>
    <${Resource} resource=${told} what="products and regimes">
      ${({ products, regimes }) =>
        products.length + regimes.length === 0
          ? html`<${Empty} title="Its decisions name no product and no regime" />`
          : [["Product", products], ["Regime", regimes]].map(
              ([title, slices]) =>
                slices.length > 0 &&
                html`<${Table} key=${title} caption=${`Uplift by ${title.toLowerCase()}`} rows=${slices} rowKey=${(s) => s.name}
                  columns=${columnsOf(title, (s) => s.name, (s) => s.name)} />`,
            )}
    <//>`;
}

function columnsOf(title, nameOf, show) {
  return [
    { name: "name", title, kind: "text", sort: nameOf, of: show },
    ...ARMS.map(([arm, named]) => ({
      name: arm, title: named, kind: "number", sort: (row) => armOf(row, arm).closed, of: (row) => html`<${Arm} row=${row} arm=${arm} />`,
    })),
    ...AGAINST.map(([arm, named]) => ({
      name: `against ${arm}`, title: named, kind: "number", sort: (row) => comparisonOf(row, arm).uplift,
      of: (row) => html`<${Compared} of=${comparisonOf(row, arm)} />`,
    })),
  ];
}

const armOf = (row, name) => row.arms.find(({ arm }) => arm === name);
const comparisonOf = (row, name) => row.comparisons.find(({ against }) => against === name);

/** How many of an arm's decisions are closed, how many are due, and what they earned. */
function Arm({ row, arm }) {
  const { closed, expected, mean_reward: mean } = armOf(row, arm);
  return html`<span class="nowrap">${count(closed)} <span class="soft">of ${count(expected)} due</span></span><br />
    <span class="nowrap">${mean === null ? html`<span class="soft">no reward</span>` : signed(mean)}</span>`;
}

function Compared({ of: { uplift, low, high, verdict } }) {
  if (uplift === null) return html`<span class="soft" title="100 closed decisions of each arm are needed">too few</span>`;
  return html`<b>${signed(uplift)}</b> <${VerdictBadge} verdict=${verdict} /><br />
    <span class="small nowrap">${signed(low)} … ${signed(high)}</span>`;
}
