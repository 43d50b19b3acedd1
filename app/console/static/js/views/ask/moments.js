// An agent's stored moments, a page at a time, to ask about one.

import { html } from "../../../vendor/ui.js";
import { present } from "../../core/agents.js";
import { call } from "../../core/api.js";
import { usePages } from "../../core/pages.js";
import { useResource } from "../../core/resource.js";
import { change, link, route } from "../../core/route.js";
import { Text } from "../../parts/fields.js";
import { Empty, Resource } from "../../parts/notice.js";
import { Pager } from "../../parts/pager.js";
import { Reward, Time } from "../../parts/words.js";

const PAGE = 12;
const DAY_S = 86400;

/** `params`: the link's, of which `until`, the filters and `older`, the page, say which moments are
 * listed. */
export function Moments({ params }) {
  const { agent, id: chosen, until, product, regime, action } = params;
  const pages = usePages("older");
  const { cursor } = pages;
  const page = useResource(
    (signal) => {
      const body = { agent_id: agent, limit: PAGE, cursor, ...present() };
      if (until) body.until = Date.parse(until) / 1000 + DAY_S;
      if (product) body.product_id = product;
      if (regime) body.regime = regime;
      if (action) body.action = action;
      return call("POST", "/v1/episodic/query", { body, signal });
    },
    [agent, until, product, regime, action, cursor],
  );
  return html`
    <div class="card-body moments-find">
      <${Text} name="Up to" type="date" value=${until} onChange=${(day) => change({ agent, until: day || null, older: null })} />
      <${Text} name="By id" value="" placeholder="exact id"
        onChange=${(id) => change({ agent, id, of: null, v: null, as_of: null }, { replace: false })} />
    </div>
    <${Resource} resource=${page} what="moments">
      ${({ memories, total, next_cursor: next }) =>
        memories.length === 0
          ? html`<${NoMoments} agent=${agent} isFiltered=${Boolean(until || product || regime || action)} />`
          : html`<ul class="moments" aria-label="Moments">
                ${memories.map((memory) => html`<${Moment} key=${memory.id} memory=${memory}
                  isChosen=${memory.id === chosen} />`)}
              </ul>
              <${Pager} pages=${pages} next=${next} total=${total} shown=${memories.length} perPage=${PAGE}
                words=${["Newer", "Older"]} />`}
    <//>
  `;
}

function NoMoments({ agent, isFiltered }) {
  if (!isFiltered) return html`<${Empty} title=${`${agent} has no memories`} />`;
  return html`<${Empty} title="No moment matches">
    <p>Choose a later day, or empty the fields above for all moments.</p>
  <//>`;
}

function Moment({ memory, isChosen }) {
  const { agent_id: agent, id, product_id: product, regime, action, timestamp, reward } = memory;
  const params = { ...route.value.params, agent, id, of: null, v: null, as_of: null };
  return html`<li>
    <a href=${link("ask", params)} aria-current=${isChosen ? "true" : undefined}>
      <span class="moment-main"><${Time} at=${timestamp} short /> <b>${product}</b></span>
      <span class="moment-reward"><${Reward} value=${reward} /></span>
      <span class="moment-more">${regime}${action === null ? "" : ` · ${action}`}</span>
    </a>
  </li>`;
}
