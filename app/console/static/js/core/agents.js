// The agents that the visitor's key may see.

import { call, callAhead } from "./api.js";
import { useResource } from "./resource.js";
import { identity } from "./session.js";

const LISTED = "/v1/agents?limit=1000&times=false";

/** Up to 1000 agents by name with their counts. */
export function useAgents() {
  return useResource(async (signal) => (await call("GET", LISTED, { signal })).agents, []);
}

/** Ask for the agents before a view does. */
export function askForAgentsAhead() {
  callAhead(LISTED);
}

/** How many numbers a state has. */
export function useDimension() {
  return useResource(async (signal) => (await call("GET", "/readyz", { signal })).parts.index?.dimension ?? null, []);
}

/** The agent with the most memories: where a view begins if its link names none. */
export function largest(agents) {
  return agents.reduce((a, b) => ((b.memories ?? 0) > (a.memories ?? 0) ? b : a)).agent_id;
}

/** What a question about the present must say for this key: some keys must always name a moment. */
export function present() {
  return identity.value?.require_as_of ? { as_of: Date.now() / 1000 } : {};
}

/** The same as a query string, "" if nothing must be said. */
export function presentQuery(separator = "?") {
  const { as_of: asOf } = present();
  return asOf === undefined ? "" : `${separator}as_of=${asOf}`;
}
