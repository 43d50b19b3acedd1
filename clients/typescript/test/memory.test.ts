import { expect, test } from "vitest";

import { LookAhead, Memory, ReadOnlyView, ServiceProblem, decodeVector, encodeVector } from "../src/index.js";

const url = process.env.MEMORY_URL;
if (url === undefined) throw new Error("MEMORY_URL names no service: run make test-ts");
const DIMENSION = 256;
const memory = new Memory(url, { timeoutMs: 20_000 });

function state(seed: number): Float32Array {
  return Float32Array.from({ length: DIMENSION }, (_, i) => Math.sin(seed * 13.7 + i * 1.3) + 0.01);
}

test("a vector survives the way through base64", () => {
  const numbers = Float32Array.from({ length: 20_000 }, (_, i) => Math.cos(i) * 1e5);
  expect(decodeVector(encodeVector(numbers))).toEqual(numbers);
  expect(decodeVector(encodeVector([0.5, -1]))).toEqual(Float32Array.of(0.5, -1));
  expect(() => encodeVector([1, Number.NaN])).toThrow("state[1] is NaN");
});

test("an open memory is closed, recalled and read", async () => {
  const me = memory.agent("ts_opener");
  const stored = await me.remember(state(1), {
    product: "BTC-USD", regime: "bull", action: "buy", nextState: state(2), metadata: { why: "dip" },
  });
  expect(stored.created).toBe(true);
  expect(await me.close(stored.id, 0.012)).toMatchObject({ reward: 0.012 });
  const found = await me.recall(state(1), { k: 3, vectors: true, product: ["BTC-USD", "ETH-USD"] });
  expect(found.memories.map((hit) => hit.id)).toEqual([stored.id]);
  expect(found.memories[0]?.distance).toBeCloseTo(0, 5);
  expect(found.memories[0]?.state).toEqual(state(1));
  expect(found.exact).toBe(true);
  const read = await me.get(stored.id);
  expect(read.nextState).toEqual(state(2));
  expect(read.metadata).toEqual({ why: "dip" });
  await me.delete(stored.id);
  await expect(me.get(stored.id)).rejects.toMatchObject({ code: "memory_not_found", status: 404 });
  await expect(me.delete(stored.id)).rejects.toBeInstanceOf(ServiceProblem);
});

test("a repeat doubles nothing, and another content is a problem", async () => {
  const me = memory.agent("ts_repeater");
  expect((await me.remember(state(1), { id: "one", reward: 1 })).created).toBe(true);
  expect((await me.remember(state(1), { id: "one", reward: 1 })).created).toBe(false);
  const refused = await me.remember(state(2), { id: "one", reward: 1 }).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "content_conflict", status: 409, retryable: false });
  expect((refused as ServiceProblem).requestId).toBeTruthy();
  await expect(me.recall(state(1), { minReward: Number.NaN })).rejects.toThrow("min_reward is NaN");
  await expect(me.recall([1, 2, 3])).rejects.toMatchObject({ code: "invalid_input", field: "state_vector" });
});

test("a view of the past sees what was known, and is not written to", async () => {
  const me = memory.agent("ts_past");
  for (let day = 0; day < 5; day += 1) {
    const at = new Date(Date.UTC(2020, 0, 1 + day));
    await me.remember(state(day), { action: day % 2 ? "sell" : "buy", reward: day / 100, timestamp: at, outcomeAt: at });
  }
  const past = memory.at(new Date(Date.UTC(2020, 0, 3)));
  expect((await past.agent("ts_past").recall(state(4))).count).toBe(3);
  const known = await past.agent("ts_past").estimate(state(4));
  expect(known.actions.map((action) => action.count)).toEqual(expect.arrayContaining([2, 1]));
  const later = new Date(Date.UTC(2020, 0, 4));
  await expect(past.agent("ts_past").recall(state(4), { asOf: later })).rejects.toBeInstanceOf(LookAhead);
  expect(() => past.at(later)).toThrow(LookAhead);
  await expect(past.agent("ts_past").remember(state(1))).rejects.toBeInstanceOf(ReadOnlyView);
  expect(() => memory.at(Date.now())).toThrow("not milliseconds");
});

test("a query reads all pages in order", async () => {
  const me = memory.agent("ts_pages");
  for (let i = 0; i < 7; i += 1) await me.remember(state(i), { reward: i, timestamp: 1.6e9 + i });
  const rewards: (number | null)[] = [];
  for await (const one of me.query({ sortBy: "reward", order: "asc", page: 3, minReward: 2 })) rewards.push(one.reward);
  expect(rewards).toEqual([2, 3, 4, 5, 6]);
});

test("a distance is learned, searched by and judged, and decisions are compared", async () => {
  const me = memory.agent("ts_judge");
  const memories = Array.from({ length: 400 }, (_, day) => ({
    agent_id: me.id, id: `d${day}`, product_id: "P", regime: "calm", action: "hold",
    state_vector: encodeVector(state(day)), reward: state(day)[3]!,
    timestamp: 1.5e9 + day * 86_400, outcome_at: 1.5e9 + (day + 1) * 86_400,
  }));
  expect((await memory.api.POST("/v1/episodic/batch", { body: { memories } })).data?.failed).toBe(0);
  const half = 1.5e9 + 200 * 86_400;
  const { distance } = await me.learn({ asOf: half });
  expect(distance?.known_at).toBe(half);
  const found = await me.recall(state(500), { metric: distance!.id, recall: true });
  expect(found).toMatchObject({ metric: distance!.id, served_by: "process", arm: "memory" });
  const judged = await me.evaluate({ metric: distance!.id, scope: "all", product: "P", k: 10, placebos: 19 });
  expect(judged).toMatchObject({ status: "done", result: { verdict: "helps", metric: distance!.id } });
  expect(await me.decide(found.recall_id!, "buy", { arm: "memory" })).toMatchObject({ created: true, counts: true });
  expect((await me.closeDecision(found.recall_id!, 0.5)).changed).toBe(true);
  expect((await me.uplift()).arms[0]).toMatchObject({ arm: "memory", closed: 1, mean_reward: 0.5 });
  const failed = await memory.agent("ts_nobody").learn().catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(ServiceProblem);
  expect(failed).toMatchObject({ code: "invalid_input", status: 422 });
}, 60_000);

test("any route is there with its types", async () => {
  const ready = await memory.api.GET("/readyz");
  expect(ready.data?.status).toBe("ok");
});

test("nobody listening is an error of fetch", async () => {
  const nobody = new Memory("http://127.0.0.1:1", { timeoutMs: 500 });
  await expect(nobody.agent("a").recall(state(1))).rejects.toThrow("fetch failed");
});
