// The answer: how far it can be trusted, what each action led to, and the moments behind it.

import { html, useMemo } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { count, fixed, milliseconds } from "../../core/format.js";
import { useResource } from "../../core/resource.js";
import { Empty, Resource, Warning } from "../../parts/notice.js";
import { ActionValues } from "./action_values.js";
import { AsOf } from "./as_of.js";
import { Distribution } from "./distribution.js";
import { Neighbours } from "./neighbours.js";
import { OverTime } from "./over_time.js";
import { asOfOf, questionBody } from "./question_body.js";
import { RequestCode } from "./request_code.js";

export function Answer({ params, state, moment }) {
  const asOf = asOfOf(params, moment);
  const asked = JSON.stringify(questionBody(params, state, asOf));
  const body = useMemo(() => JSON.parse(asked), [asked]);
  const answer = useResource(
    async (signal) => {
      const [found, estimate] = await Promise.all([
        call("POST", "/v1/episodic/search", { body, signal }),
        call("POST", "/v1/episodic/estimate", { body, signal }),
      ]);
      return { found, estimate };
    },
    [body],
  );
  return html`
    <${AsOf} agent=${params.agent} asOf=${asOf} moment=${moment} />
    <${Resource} resource=${answer} what="the answer">
      ${({ found, estimate }) => html`<${Found} found=${found} estimate=${estimate} moment=${moment}
        body=${body} />`}
    <//>
    <${RequestCode} body=${body} />
  `;
}

function Found({ found, estimate, moment, body }) {
  if (found.count === 0) {
    return html`<div class="card"><${Empty} title="Nothing was known by then">
      <p>No memory had its outcome by that moment, or none matches the filters. Move the time to the right, or ask more agents.</p>
    <//></div>`;
  }
  return html`
    ${(found.partial || estimate.partial) &&
    html`<${Warning}>Some agents' memories did not answer: this is not the whole answer.<//>`}
    <${Trust} found=${found} estimate=${estimate} />
    <div class="answer-pair">
      <${ActionValues} estimate=${estimate} />
      <${Distribution} memories=${found.memories} actual=${moment?.reward ?? null} />
    </div>
    <${Neighbours} memories=${found.memories} asker=${body.agent_id} />
    <${OverTime} body=${body} moment=${moment} />
  `;
}

function Trust({ found, estimate }) {
  const nearest = found.memories[0].distance;
  return html`<dl class="figures" aria-label="How far the answer can be trusted">
    <${Figure} name="Novelty" value=${fixed(estimate.novelty, 2)} note="0 seen often, 1 never seen" />
    <${Figure} name="Confidence" value=${fixed(estimate.confidence, 2)} note="0 to 1" />
    <${Figure} name="Nearest" value=${fixed(Math.max(0, nearest), 3)} note="cosine distance" />
    ${estimate.distinct == null
      ? html`<${Figure} name="Moments" value=${count(found.count)} note=${exactness(found)} />`
      : html`<${Figure} name="Independent" value=${count(estimate.distinct)}
          note=${`of ${count(estimate.found ?? found.count)} found`} />`}
    <${Figure} name="Answered in" value=${milliseconds(found.took_ms)}
      note=${estimate.distinct == null ? found.served_by : exactness(found)} />
  </dl>`;
}

function exactness(found) {
  return found.exact ? "exact, none is missing" : "approximate";
}

function Figure({ name, value, note }) {
  return html`<div><dt>${name}</dt><dd>${value}<small>${note}</small></dd></div>`;
}
