// Delete an agent's memories by filter.

import { html, useState } from "../../../vendor/ui.js";
import { count } from "../../core/format.js";
import { Text } from "../../parts/fields.js";
import { TryThenDo } from "./try_then_do.js";

export function DeleteMemories() {
  const [asked, setAsked] = useState({});
  const set = (name) => (value) => setAsked({ ...asked, [name]: value });
  const body = Object.fromEntries(Object.entries(asked).filter(([, value]) => value));
  if (body.until) body.until = Date.parse(body.until) / 1000;
  return html`<section class="card" aria-label="Delete memories">
    <div class="card-head"><h2>Delete an agent's memories</h2></div>
    <div class="card-body stack">
      <${Text} name="Agent" value=${asked.agent_id} onChange=${set("agent_id")} />
      <div class="pair">
        <${Text} name="Product" value=${asked.product_id} placeholder="any" onChange=${set("product_id")} />
        <${Text} name="Regime" value=${asked.regime} placeholder="any" onChange=${set("regime")} />
      </div>
      <${Text} name="Up to (UTC)" type="date" value=${asked.until} onChange=${set("until")} />
      ${!body.agent_id && html`<p class="small soft">Name the agent first: memories are deleted agent by agent.</p>`}
      <${TryThenDo} path="/v1/episodic/delete" body=${body} verb="Delete them" isReady=${Boolean(body.agent_id)}
        describe=${(a) => `${count(a.matched)} match, ${count(a.deleted)} deleted`} isEmpty=${(a) => a.matched === 0} />
    </div>
  </section>`;
}
