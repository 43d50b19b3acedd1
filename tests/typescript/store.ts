import createClient from "openapi-fetch";
import type { components, paths } from "./memory.js";

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8000" });
const body: components["schemas"]["EpisodicStore"] = {
  agent_id: "agent_1", product_id: "BTC-USD", regime: "bull", state_vector: [0.1], action: "buy", reward: 0.012,
};
const stored = await api.POST("/v1/episodic", { body });
const id: string | undefined = stored.data?.id;
const code: components["schemas"]["ProblemCode"] | undefined = stored.error?.code;
const many = await api.POST("/v1/episodic/search/batch", { body: { searches: [{ agent_id: "a", state_vector: [1] }] } });
for (const result of many.data?.results ?? []) {
  if (result.kind === "answer") console.log(result.memories[0]?.distance); else console.log(result.code);
}
console.log(id, code);
