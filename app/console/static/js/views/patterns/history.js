// How a concept's statistics changed: asked as of moments since it was made.

import { html, useState } from "../../../vendor/ui.js";
import { call, path } from "../../core/api.js";
import { categoryColour } from "../../core/colours.js";
import { fixed } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { Resource } from "../../parts/notice.js";
import { TimeChart } from "../../parts/time_chart.js";

const STEPS = 16;

export function History({ concept }) {
  const [isOpen, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.target.open)}>
    <summary>Its statistics since it was created</summary>
    ${isOpen && html`<${Asked} concept=${concept} />`}
  </details>`;
}

async function past(concept, signal) {
  const start = concept.created_at;
  const end = Math.max(Date.now() / 1000, start + 1);
  const times = Array.from({ length: STEPS }, (_, i) => start + ((end - start) * i) / (STEPS - 1));
  const found = await Promise.all(
    times.map(async (at) => {
      try {
        return await call("GET", `${path`/v1/semantic/${concept.id}`}?as_of=${at}`, { signal });
      } catch (problem) {
        if (problem.status !== 404) throw problem;
        return null; // it was not known yet
      }
    }),
  );
  return { times, found };
}

function Asked({ concept }) {
  const resource = useResource((signal) => past(concept, signal), [concept.id]);
  return html`<${Resource} resource=${resource} what="its past">
    ${({ times, found }) => html`<${TimeChart} label="Sharpe ratio and win rate" times=${times} isStepped
      format=${(value) => fixed(value, 2)}
      series=${[
        { name: "Sharpe ratio", colour: categoryColour(0), values: found.map((c) => c?.sharpe_ratio ?? null) },
        { name: "Win rate", colour: categoryColour(1), values: found.map((c) => c?.win_rate ?? null) },
      ]} />`}
  <//>`;
}
