// Patterns: what the swarm knows, how it came to know it, and the moments behind it.

import { html } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { usePages } from "../../core/pages.js";
import { useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { Select, Text } from "../../parts/fields.js";
import { Empty, Resource } from "../../parts/notice.js";
import { Pager } from "../../parts/pager.js";
import { Concept } from "./concept.js";
import { Concepts } from "./concepts.js";

const PAGE = 50;
const TYPES = [["", "all kinds"], ["PATTERN", "patterns"], ["REGIME", "regimes"], ["STRATEGY", "strategies"]];
const ORDERS = [
  ["sharpe_ratio", "Sharpe ratio"], ["win_rate", "win rate"], ["access_count", "how often found"],
  ["last_accessed", "last found"], ["created_at", "newest"],
];

export function View({ params }) {
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Patterns</h1>
        <p>What the swarm knows: concepts that were stored, and patterns that consolidation made from many experiences.</p>
      </div>
    </div>
    ${params.id && html`<${Concept} key=${params.id} id=${params.id} asOf=${secondsOf(params.as_of)} />`}
    <${Listed} params=${params} />
  </div>`;
}

const secondsOf = (day) => (day ? Date.parse(`${day}T00:00Z`) / 1000 : null);

function Listed({ params }) {
  const pages = usePages("page");
  const { cursor } = pages;
  const { type, regime, sort = "sharpe_ratio", as_of: asOf } = params;
  const page = useResource(
    (signal) => {
      const body = { sort_by: sort, limit: PAGE, cursor };
      if (type) body.memory_type = type;
      if (regime) body.regime_name = regime;
      if (asOf) body.as_of = secondsOf(asOf);
      return call("POST", "/v1/semantic/query", { body, signal });
    },
    [type, regime, sort, asOf, cursor],
  );
  const set = (name) => (value) => change({ [name]: value || null, page: null });
  return html`<section class="card" aria-label="Concepts">
    <div class="card-body pattern-question">
      <${Select} name="Kind" value=${type ?? ""} options=${TYPES} onChange=${set("type")} />
      <${Text} name="Regime" value=${regime} placeholder="any" onChange=${set("regime")} />
      <${Select} name="Order" value=${sort} options=${ORDERS} onChange=${set("sort")} />
      <${Text} name="As of" type="date" value=${asOf} onChange=${set("as_of")} />
    </div>
    <${Resource} resource=${page} what="concepts">
      ${({ memories, total, next_cursor: next }) =>
        memories.length === 0
          ? html`<${NoConcepts} isFiltered=${Boolean(type || regime || asOf)} />`
          : html`<${Concepts} concepts=${memories} chosen=${params.id} />
              <${Pager} pages=${pages} next=${next} total=${total} shown=${memories.length} perPage=${PAGE} />`}
    <//>
  </section>`;
}

function NoConcepts({ isFiltered }) {
  if (isFiltered) return html`<${Empty} title="No concept matches"><p>Choose all kinds, another regime, or a later day.</p><//>`;
  return html`<${Empty} title="The swarm has no concepts yet">
    <p>
      Run <code>./memory consolidate --apply</code> to make patterns from many experiences, or store a
      concept with <code>POST /v1/semantic</code>.
    </p>
  <//>`;
}

