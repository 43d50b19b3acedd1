// What a view shows of one agent: the link's, or the one with the most memories.

import { html } from "../../vendor/ui.js";
import { largest, useAgents } from "../core/agents.js";
import { isIdentified } from "../core/session.js";
import { Loading, NothingStored, Resource } from "./notice.js";

/** `of`: a component that gets `params` with an agent, and `agents`: none until the service has
 * listed them, for the link's agent is shown at once. */
export function OfAgent({ params, of: Shown }) {
  const listed = useAgents();
  if (!isIdentified.value) return html`<${Loading} what="agents" />`; // it decides what may be asked
  const isEarly = Boolean(params.agent) && listed.data === null && listed.isLoading;
  return html`<${Resource} resource=${isEarly ? { ...listed, data: [], isLoading: false } : listed} what="agents">
    ${(agents) => agents.length === 0 && !isEarly
      ? html`<div class="card"><${NothingStored} /></div>`
      : html`<${Shown} params=${{ ...params, agent: params.agent ?? largest(agents) }} agents=${agents} />`}
  <//>`;
}
