// The agents that the visitor's key may see.

import { call } from "./api.js";
import { useResource } from "./resource.js";

const PAGE = 1000;

/** Up to 1000 agents by name, with their counts, and how many there are in all. */
export function useAgents() {
  return useResource(async (signal) => {
    const { agents, totals, dimension } = await call("GET", `/v1/stats?limit=${PAGE}`, { signal });
    return { agents, total: totals.agents, dimension };
  }, []);
}
