// Ask: take a moment, see what it resembles, what came after, and what that says of each action.

import { html, useMemo } from "../../../vendor/ui.js";
import { present, presentQuery } from "../../core/agents.js";
import { call, path } from "../../core/api.js";
import { useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { fromBase64 } from "../../core/vectors.js";
import { Empty, Loading, NoMemories, ProblemNotice, Resource } from "../../parts/notice.js";
import { OfAgent } from "../../parts/of_agent.js";
import { Answer } from "./answer.js";
import { MomentCard } from "./moment_card.js";
import { Question } from "./question.js";

export function View({ params }) {
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Ask</h1>
        <p>Take a moment. See the most similar ones of the past, what was done and what came of it.</p>
      </div>
    </div>
    <${OfAgent} params=${params} of=${Asked} />
  </div>`;
}

function Asked({ params, agents }) {
  const { agent, id, v } = params;
  const owner = params.of ?? agent;
  const moment = useResource(
    id ? (signal) => call("GET", path`/v1/episodic/${owner}/${id}` + presentQuery(), { signal }) : null,
    [owner, id],
  );
  const pasted = useMemo(() => (v ? decoded(v) : null), [v]);
  const state = id ? moment.data?.state_vector : pasted?.vector;
  const isAsked = Boolean(id || v);
  return html`<div class="ask">
    <${Question} params=${params} agents=${agents} />
    <div class="stack">
      ${id && moment.problem && html`<${ProblemNotice} problem=${moment.problem} onRetry=${moment.reload} />`}
      ${id && !moment.data && moment.isLoading && html`<${Loading} what="the moment" />`}
      ${id && moment.data && html`<${MomentCard} moment=${moment.data} />`}
      ${pasted?.error && html`<${ProblemNotice} problem=${pasted.error} />`}
      ${state && html`<${Answer} params=${params} state=${state} moment=${id ? moment.data : null} />`}
      ${!isAsked && html`<div class="card"><${Start} agent=${agent} /></div>`}
    </div>
  </div>`;
}

function decoded(v) {
  try {
    return { vector: fromBase64(v.replaceAll("-", "+").replaceAll("_", "/")) };
  } catch (error) {
    return { error };
  }
}

/** What to do before anything is asked. */
function Start({ agent }) {
  const body = { agent_id: agent, limit: 1, ...present() };
  const latest = useResource((signal) => call("POST", "/v1/episodic/query", { body, signal }), [agent]);
  return html`<${Resource} resource=${latest} what="the latest moment">
    ${({ memories: [moment] }) => moment
      ? html`<${Empty} title="Which moment?">
          <p>Choose one of ${agent}'s moments, paste a vector, or drop a CSV of prices.</p>
          <button class="button primary" onClick=${() => change({ agent, id: moment.id }, { replace: false })}>Ask about the latest moment</button>
        <//>`
      : html`<${NoMemories} agent=${agent} />`}
  <//>`;
}
