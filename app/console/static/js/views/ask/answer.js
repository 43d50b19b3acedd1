// The answer: how far it can be trusted, what each action led to, and the moments behind it.
//
// The moments are there at once. What they say of each action may take longer: the first estimate
// about an agent reads its whole memory, so it is asked for beside them.

import { html, useMemo } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { useResource } from "../../core/resource.js";
import { link } from "../../core/route.js";
import { Empty, Resource, Warning } from "../../parts/notice.js";
import { ActionValues } from "./action_values.js";
import { AsOf } from "./as_of.js";
import { Distribution } from "./distribution.js";
import { Neighbours } from "./neighbours.js";
import { OverTime } from "./over_time.js";
import { asOfOf, questionBody } from "./question_body.js";
import { RequestCode } from "./request_code.js";
import { Trust } from "./trust.js";

export function Answer({ params, state, moment }) {
  const asOf = asOfOf(params, moment);
  const asked = JSON.stringify(questionBody(params, state, asOf));
  const body = useMemo(() => JSON.parse(asked), [asked]);
  const ask = (what) => (signal) => call("POST", `/v1/episodic/${what}`, { body, signal });
  const answer = useResource(ask("search"), [body]);
  const estimate = useResource(ask("estimate"), [body]);
  return html`
    <${AsOf} agent=${params.agent} asOf=${asOf} moment=${moment} />
    <${Resource} resource=${answer} what="the nearest moments">
      ${(found) => html`<${Found} found=${found} estimate=${estimate} moment=${moment} body=${body} params=${params} />`}
    <//>
    <${RequestCode} body=${body} />
  `;
}

function Found({ found, estimate, moment, body, params }) {
  if (found.count === 0) return html`<div class="card"><${NothingFound} body=${body} /></div>`;
  const silent = [...new Set([found, estimate.data].flatMap((told) => told?.unanswered_groups ?? []))];
  const isPartial = found.partial || estimate.data?.partial;
  return html`
    ${isPartial && html`<${Warning}><span>
      Some agents' memories did not answer, so this is not the whole answer${silent.length > 0 && `: those of ${silent.join(", ")}`}.
      ${" "}<a href=${link("health")}>Health</a> shows what is down.
    </span><//>`}
    <${Resource} resource=${estimate} what="the value of each action" slowly="The first estimate about an agent reads its whole memory, which can take some seconds. Later ones are quick.">
      ${(told) => html`<${Trust} found=${found} estimate=${told} />
        <${ActionValues} estimate=${told} onAgain=${estimate.reload} />`}
    <//>
    <${Distribution} memories=${found.memories} actual=${moment?.reward ?? null} />
    <${Neighbours} found=${found} asker=${body.agent_id} />
    <${OverTime} body=${body} moment=${moment} earliest=${Math.min(...found.memories.map((m) => m.timestamp))}
      isOpen=${params.years === "open"} />
  `;
}

function NothingFound({ body }) {
  const { scope, product_id: product, regime, action, as_of: asOf } = body;
  const advice = [];
  if (asOf != null) advice.push("move the time to the right");
  if (product || regime || action) advice.push("remove a filter");
  if (scope !== "all") advice.push("ask all agents");
  const text = advice.join(", or ");
  return html`<${Empty} title=${asOf == null ? "No memory matches" : "Nothing was known by then"}>
    <p>
      No memory in question ${asOf == null ? "matches the filters" : "had its outcome by that moment"}.
      ${text && ` To get an answer, ${text}.`}
    </p>
  <//>`;
}
