// The question: whose memory, which moment, what may answer.

import { html, useEffect, useState } from "../../../vendor/ui.js";
import { useDimension } from "../../core/agents.js";
import { change, route } from "../../core/route.js";
import { Choice, Select, Text } from "../../parts/fields.js";
import { Resource } from "../../parts/notice.js";
import { Moments } from "./moments.js";
import { PastedVector } from "./pasted_vector.js";
import { Prices } from "./prices.js";

const SOURCES = [["moment", "Stored moment"], ["vector", "Vector"], ["prices", "Prices"]];
const SCOPES = [["own", "this agent"], ["others", "the others"], ["all", "all agents"]];
const COUNTS = ["10", "20", "50", "100", "200", "500"].map((n) => [n, n]);
export const DEFAULT_COUNT = "50";

export function Question({ params, agents }) {
  const source = params.source ?? (params.v ? "vector" : "moment");
  const asked = params.id ?? params.v;
  const [isFolded, setFolded] = useState(Boolean(asked));
  useEffect(() => setFolded(Boolean(asked)), [asked]); // the answer is what counts on a small screen
  const set = (name) => (value) => change({ agent: params.agent, [name]: value || null });
  const setFilter = (name) => (value) => change({ agent: params.agent, [name]: value || null, older: null });
  return html`<section class=${isFolded ? "card question folded" : "card question"} aria-label="Question">
    <button class="button question-fold" aria-expanded=${!isFolded} onClick=${() => setFolded(!isFolded)}>
      <span>${isFolded ? "Another question" : "Fold the question"}</span><span aria-hidden="true">${isFolded ? "+" : "−"}</span>
    </button>
    <div class="card-body stack">
      <${Text} name="Agent" value=${params.agent} suggestions=${agents.map((a) => a.agent_id)}
        onChange=${(agent) => agent && change({ agent, id: null, of: null, as_of: null, until: null, older: null })} />
      <div class="pair">
        <${Select} name="Memories of" value=${params.scope ?? "own"} options=${SCOPES}
          onChange=${set("scope")} />
        <${Select} name="Moments at most" value=${params.k ?? DEFAULT_COUNT} options=${COUNTS}
          onChange=${set("k")} />
      </div>
      <details open=${Boolean(params.product || params.regime || params.action)}>
        <summary>Only some memories, here and in the answer</summary>
        <div class="stack">
          <${Text} name="Product" value=${params.product} onChange=${setFilter("product")} placeholder="any" />
          <${Text} name="Regime" value=${params.regime} onChange=${setFilter("regime")} placeholder="any" />
          <${Text} name="Action" value=${params.action} onChange=${setFilter("action")} placeholder="any" />
        </div>
      </details>
      <label class="small">
        <input type="checkbox" checked=${params.distinct !== "none"}
          onChange=${(event) => set("distinct")(event.target.checked ? null : "none")} />
        ${" "}Count overlapping moments of a product once
      </label>
    </div>
    <div class="card-body question-source">
      <${Choice} name="Where the state comes from" value=${source} options=${SOURCES}
        onChange=${set("source")} />
    </div>
    ${source === "moment" && html`<${Moments} params=${params} />`}
    ${source !== "moment" && html`<${OtherState} source=${source} />`}
  </section>`;
}

/** A state that is not stored: it must have as many numbers as the service takes. */
function OtherState({ source }) {
  const Source = source === "vector" ? PastedVector : Prices;
  return html`<${Resource} resource=${useDimension()} what="what the service takes">
    ${(dimension) => html`<${Source} dimension=${dimension} onVector=${askVector} />`}
  <//>`;
}

/** Ask about a state that is not stored. It becomes part of the link. */
function askVector(base64, asOf = null) {
  const v = base64.replaceAll("+", "-").replaceAll("/", "_");
  change({ v, id: null, of: null, as_of: asOf }, { replace: !route.value.params.v });
}
