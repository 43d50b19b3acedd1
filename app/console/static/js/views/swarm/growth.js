// How the largest agents' memories grew.

import { html, useMemo } from "../../../vendor/ui.js";
import { call, path } from "../../core/api.js";
import { categoryColour, CATEGORIES } from "../../core/colours.js";
import { count } from "../../core/format.js";
import { isDark } from "../../core/preferences.js";
import { inTurns, useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { Choice } from "../../parts/fields.js";
import { Empty, Resource } from "../../parts/notice.js";
import { TimeChart } from "../../parts/time_chart.js";

const BY = [["recorded_at", "By when stored"], ["timestamp", "By their moment"]];
const SAID = {
  recorded_at: "memories by the time at which they were stored",
  timestamp: "memories by the moment that they are about",
};

export function Growth({ agents, params }) {
  const by = params.growth === "timestamp" ? "timestamp" : "recorded_at";
  const filled = agents.filter(({ memories }) => memories);
  const shown = [...filled].sort((a, b) => b.memories - a.memories).slice(0, CATEGORIES);
  const names = shown.map(({ agent_id: name }) => name);
  const resource = useResource(
    (signal) => inTurns(names, (name) => call("GET", `${path`/v1/agents/${name}/growth`}?by=${by}`, { signal })),
    [names.join("\n"), by],
  );
  return html`<section class="card" aria-label="Growth">
    <div class="card-head">
      <h2>Growth</h2>
      <span class="small">${filled.length > names.length ? `the ${names.length} largest agents of this page; ` : ""}${SAID[by]}; deleted ones are not counted</span>
      <${Choice} name="By" value=${by} options=${BY} onChange=${(growth) => change({ growth })} />
    </div>
    <${Resource} resource=${resource} what="growth">${(found) => html`<${Chart} found=${found} />`}<//>
  </section>`;
}

function Chart({ found }) {
  const dark = isDark.value;
  const { times, series } = useMemo(() => linesOf(found), [found, dark]);
  if (times.length < 2) {
    return html`<${Empty} title="All of them were stored at one moment">
      <p>Choose <strong>By their moment</strong> to see the memories along their own time.</p>
    <//>`;
  }
  return html`<div class="card-body">
    <${TimeChart} label="Memories of each agent" times=${times} series=${series} isStepped format=${count} />
  </div>`;
}

/** One line for each agent over the times of all of them: what was there at each. */
function linesOf(found) {
  const times = [...new Set(found.flatMap((agent) => agent.times))].sort((a, b) => a - b);
  const series = found.map((agent, n) => ({
    name: agent.agent_id, colour: categoryColour(n), values: held(agent, times),
  }));
  return { times, series };
}

function held({ times: own, memories, undated }, times) {
  let at = 0;
  return times.map((time) => {
    while (at < own.length && own[at] <= time) at += 1;
    return at ? memories[at - 1] : undated;
  });
}
