// Prune by the rules of retention.

import { html, useState } from "../../../vendor/ui.js";
import { count } from "../../core/format.js";
import { Text } from "../../parts/fields.js";
import { TryThenDo } from "./try_then_do.js";

export function Prune() {
  const [days, setDays] = useState("");
  const [agent, setAgent] = useState("");
  const body = {};
  if (agent) body.agent_id = agent;
  if (days) body.episodic_max_age_days = Number(days);
  return html`<section class="card" aria-label="Prune">
    <div class="card-head"><h2>Prune by the rules</h2></div>
    <div class="card-body stack">
      <p class="small soft">Pinned memories always stay. Empty fields use the service's settings.</p>
      <div class="pair">
        <${Text} name="Older than (days)" type="number" min="0" value=${days} onChange=${setDays} />
        <${Text} name="Agent" value=${agent} placeholder="all" onChange=${setAgent} />
      </div>
      <${TryThenDo} path="/v1/retention" body=${body} verb="Prune" describe=${said} isEmpty=${isNothing} />
    </div>
  </section>`;
}

const PARTS = [["episodic", "experiences"], ["semantic", "concepts"]];

function said(answer) {
  const parts = PARTS.filter(([name]) => answer[name]);
  return parts.map(([name, what]) => `${count(answer[name].matched)} ${what} match, ${count(answer[name].deleted)} deleted`).join("; ");
}

const isNothing = (answer) => PARTS.every(([name]) => !answer[name]?.matched);
