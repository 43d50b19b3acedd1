// Map: an agent's memory in two dimensions. Moments that lie close are alike.

import { html, useMemo, useState } from "../../../vendor/ui.js";
import { presentQuery } from "../../core/agents.js";
import { call, path } from "../../core/api.js";
import { count, share } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { Choice, Select, Text } from "../../parts/fields.js";
import { NoMemories, Resource } from "../../parts/notice.js";
import { OfAgent } from "../../parts/of_agent.js";
import { Chosen } from "./chosen.js";
import { COLOURINGS, colouring } from "./colouring.js";
import { Legend } from "./legend.js";
import { readPolygon, within, writePolygon } from "./polygon.js";
import { Plot } from "./plot.js";
import { Selection } from "./selection.js";

const DEFAULT_LIMIT = "20000"; // drawn by the service in a second or two
const DEADLINE_MS = 60000;
const LIMITS = [["5000", "5,000"], ["20000", "20,000"], ["100000", "100,000"]];

export function View({ params }) {
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Map</h1>
        <p>An agent's memory in two dimensions. Moments that lie close to each other are alike.</p>
      </div>
    </div>
    <${OfAgent} params=${params} of=${Mapped} />
  </div>`;
}

function Mapped({ params, agents }) {
  const { agent, limit = DEFAULT_LIMIT } = params;
  const map = useResource(
    (signal) =>
      call("GET", `${path`/v1/episodic/${agent}/map`}?form=columns&limit=${limit}${presentQuery("&")}`, { signal, deadlineMs: DEADLINE_MS }),
    [agent, limit],
  );
  return html`
    <div class="card card-body map-question">
      <${Text} name="Agent" value=${agent} suggestions=${agents.map((a) => a.agent_id)}
        onChange=${(value) => value && change({ agent: value, id: null, lasso: null, regime: null, product: null, action: null }, { replace: false })} />
      <${Select} name="Colour" value=${params.colour ?? "reward"} options=${COLOURINGS}
        onChange=${(colour) => change({ agent, colour })} />
      <${Select} name="Points at most" value=${limit} options=${LIMITS}
        onChange=${(value) => change({ agent, limit: value })} />
    </div>
    <${Resource} resource=${map} what="the map">
      ${(told) =>
        told.total === 0
          ? html`<div class="card"><${NoMemories} agent=${agent} /></div>`
          : html`<${Shown} key=${agent} told=${told} params=${params} />`}
    <//>`;
}

const FILTERS = [["regime", "regime", "Regime"], ["product", "product_id", "Product"], ["action", "action", "Action"]];

function Shown({ told, params }) {
  const { columns } = told;
  const [mode, setMode] = useState("move");
  const colours = colouring(columns, params.colour ?? "reward");
  const lasso = useMemo(() => readPolygon(params.lasso), [params.lasso]);
  const isShown = useMemo(
    () => shownBy(columns, params),
    [columns, params.regime, params.product, params.action],
  );
  const selected = useMemo(
    () => (lasso ? within(columns, lasso, isShown) : null),
    [columns, lasso, isShown],
  );
  const chosen = params.id ? columns.id.indexOf(params.id) : -1;
  const set = (name) => (value) => change({ agent: params.agent, [name]: value || null });
  return html`
    <section class="card" aria-label="Map">
      <div class="card-head map-tools">
        <div class="map-filters">
          ${FILTERS.map(([name, column, title]) => html`<${Select} key=${name} name=${title}
            value=${params[name] ?? ""} onChange=${set(name)}
            options=${[["", "all"], ...columns[column].names.map((of) => [of ?? "", of ?? "none"])]} />`)}
        </div>
        <${Choice} name="What dragging does" value=${mode} onChange=${setMode}
          options=${[["move", "Move"], ["lasso", "Lasso"]]} />
      </div>
      <${Plot} columns=${columns} colours=${colours} isShown=${isShown} chosen=${chosen} mode=${mode}
        lasso=${lasso} selected=${selected} agent=${params.agent}
        onChoose=${(i) => change({ agent: params.agent, id: i < 0 ? null : columns.id[i] })}
        onLasso=${(polygon) => change({ agent: params.agent, lasso: writePolygon(polygon) })} />
      <${Legend} columns=${columns} colours=${colours} />
      <p class="more"><span>${said(told)}</span></p>
    </section>
    <div class="halves">
      ${chosen >= 0 && html`<${Chosen} agent=${params.agent} columns=${columns} at=${chosen} />`}
      ${selected && html`<${Selection} agent=${params.agent} columns=${columns} rows=${selected}
        onClear=${() => change({ agent: params.agent, lasso: null })} />`}
    </div>`;
}

function said({ total, sampled, columns, explained }) {
  const [first, second] = explained;
  const drawn = sampled
    ? `${count(columns.id.length)} of ${count(total)} memories, drawn evenly over time.`
    : total === 1 ? "The only memory." : `All ${count(total)} memories.`;
  if (!first) return drawn;
  return `${drawn} The two axes hold ${share(first, 1)} and ${share(second, 1)} of the variance of the states (PCA): points that lie close may differ in the rest.`;
}

/** Which points the filters show, as an array of 0 and 1. */
function shownBy(columns, params) {
  const shown = new Uint8Array(columns.id.length).fill(1);
  for (const [name, column] of FILTERS) {
    if (!params[name]) continue;
    const { names, codes } = columns[column];
    const wanted = names.indexOf(params[name]);
    for (let i = 0; i < shown.length; i += 1) if (codes[i] !== wanted) shown[i] = 0;
  }
  return shown;
}
