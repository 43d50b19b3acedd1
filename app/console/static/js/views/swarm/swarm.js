// Swarm: every agent with what it holds.

import { html, useState } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { bytes, count, plural } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { NothingStored, Resource } from "../../parts/notice.js";
import { Agents } from "./agents.js";

const PAGE = 100;

export function View() {
  const [cursors, setCursors] = useState([null]);
  const cursor = cursors[cursors.length - 1];
  const stats = useResource(
    (signal) => {
      const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      return call("GET", `/v1/stats?limit=${PAGE}${after}`, { signal });
    },
    [cursor],
  );
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Swarm</h1>
        <p>The agents and what they remember.</p>
      </div>
    </div>
    <${Resource} resource=${stats} what="agents">
      ${(told) => html`
        <${Totals} told=${told} />
        ${told.agents.length === 0
          ? html`<div class="card"><${NothingStored} /></div>`
          : html`<${Agents} told=${told} page=${cursors.length}
              onNext=${told.next_cursor && (() => setCursors([...cursors, told.next_cursor]))}
              onBack=${cursors.length > 1 && (() => setCursors(cursors.slice(0, -1)))} />`}
      `}
    <//>
  </div>`;
}

function Totals({ told: { totals, dimension, vector_type: type } }) {
  return html`<dl class="figures" aria-label="The swarm in numbers">
    <div><dt>Agents</dt><dd>${count(totals.agents)}</dd></div>
    <div><dt>Memories</dt><dd>${count(totals.memories)}<small>${plural(totals.open_memories, "open one")}</small></dd></div>
    <div><dt>Concepts</dt><dd>${count(totals.concepts)}</dd></div>
    <div><dt>Stored</dt><dd>${bytes(totals.hash_bytes)}<small>and ${bytes(totals.index_bytes)} of indexes</small></dd></div>
    <div><dt>A state</dt><dd>${count(dimension)}<small>${type} numbers</small></dd></div>
  </dl>`;
}
