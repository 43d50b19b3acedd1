import type { components } from "./contract.js";
import { answer, unixSeconds, type Memory, type Moment } from "./memory.js";
import { encodeVector, type Vector } from "./vectors.js";

type Schemas = components["schemas"];

/** What an experience may hold besides its state. Times are unix seconds or a Date. */
export interface Fields {
  id?: string;
  product?: string;
  regime?: string;
  action?: string;
  reward?: number;
  timestamp?: Moment;
  outcomeAt?: Moment;
  terminal?: boolean;
  nextState?: Vector;
  priority?: number;
  metadata?: Record<string, unknown>;
}

/** Conditions on experiences. All that are given must hold. */
export interface Filters {
  product?: string | string[];
  regime?: string | string[];
  action?: string | string[];
  minReward?: number;
  maxReward?: number;
  since?: Moment;
  until?: Moment;
  asOf?: Moment;
}

/** How to recall. With `vectors`, the answer includes the states. */
export interface RecallOptions extends Filters {
  k?: number;
  scope?: "own" | "others" | "all";
  maxDistance?: number;
  exact?: boolean;
  vectors?: boolean;
}

/** One experience as the service returns it. Its states are Float32Array, or undefined unless requested. */
export type Experience<T> = Omit<T, "state_vector" | "next_state_vector"> & {
  state: Float32Array | undefined;
  nextState: Float32Array | undefined;
};

/** The memory of one agent. Every method may throw ServiceProblem; methods that take states, RangeError. */
export class Agent {
  constructor(
    private readonly memory: Memory,
    readonly id: string,
  ) {}

  /** Store one experience. Without a reward it is open. Pass an `id` to be able to repeat the call safely. */
  async remember(state: Vector, fields: Fields = {}): Promise<Schemas["EpisodicStored"]> {
    this.memory.requirePresent("Storing");
    const body = {
      agent_id: this.id,
      id: fields.id ?? crypto.randomUUID(),
      product_id: fields.product ?? "unknown",
      regime: fields.regime ?? "unknown",
      state_vector: encodeVector(state),
      ...given({
        action: fields.action,
        reward: fields.reward,
        timestamp: seconds(fields.timestamp),
        outcome_at: seconds(fields.outcomeAt),
        terminal: fields.terminal,
        next_state_vector: fields.nextState && encodeVector(fields.nextState, "nextState"),
        priority: fields.priority,
        metadata: fields.metadata,
      }),
    };
    return answer(await this.memory.api.POST("/v1/episodic", { body }));
  }

  /** Record the outcome of an open memory. A service that requires `as_of` only acknowledges it. */
  async close(
    id: string,
    reward: number,
    outcomeAt?: Moment,
  ): Promise<Schemas["Closed"] | Schemas["ChangeAcknowledged"]> {
    this.memory.requirePresent("Closing");
    const path = { agent_id: this.id, id };
    const body = { reward, ...given({ outcome_at: seconds(outcomeAt) }) };
    return answer(
      await this.memory.api.POST("/v1/episodic/{agent_id}/{id}/outcome", { params: { path }, body }),
    );
  }

  /** Return the `k` experiences most similar to `state`, nearest first. */
  async recall(state: Vector, options: RecallOptions = {}) {
    const found = answer(await this.memory.api.POST("/v1/episodic/search", { body: this.question(state, options) }));
    return { ...found, memories: found.memories.map(withStates) };
  }

  /** Return what came of each action in the `k` most similar moments. */
  async estimate(state: Vector, options: RecallOptions = {}): Promise<Schemas["EpisodicEstimated"]> {
    const body = this.question(state, { k: 50, ...options });
    return answer(await this.memory.api.POST("/v1/episodic/estimate", { body }));
  }

  /** Return one experience with its states. */
  async get(id: string) {
    const path = { agent_id: this.id, id };
    const query = given({ as_of: this.memory.asOf });
    const found = answer(
      await this.memory.api.GET("/v1/episodic/{agent_id}/{id}", { params: { path, query } }),
    );
    return withStates(found);
  }

  /** Yield all experiences that match, in order. They are read page by page. */
  async *query(
    filters: Filters & { sortBy?: "reward" | "timestamp"; order?: "asc" | "desc"; page?: number } = {},
  ) {
    let cursor: string | undefined;
    do {
      const body = {
        ...this.conditions(filters),
        ...given({ sort_by: filters.sortBy, order: filters.order, limit: filters.page, cursor }),
      };
      const page = answer(await this.memory.api.POST("/v1/episodic/query", { body }));
      yield* page.memories;
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
  }

  /** Delete one experience. */
  async delete(id: string): Promise<void> {
    this.memory.requirePresent("Deleting");
    const path = { agent_id: this.id, id };
    const done = await this.memory.api.DELETE("/v1/episodic/{agent_id}/{id}", { params: { path } });
    if (!done.response.ok) answer(done);
  }

  private question(state: Vector, options: RecallOptions) {
    return {
      ...this.conditions(options),
      state_vector: encodeVector(state),
      ...given({
        top_k: options.k,
        scope: options.scope,
        max_distance: options.maxDistance,
        exact: options.exact,
        include_vectors: options.vectors,
      }),
    };
  }

  private conditions(filters: Filters) {
    return {
      agent_id: this.id,
      ...given({
        product_id: filters.product,
        regime: filters.regime,
        action: filters.action,
        min_reward: filters.minReward,
        max_reward: filters.maxReward,
        since: seconds(filters.since),
        until: seconds(filters.until),
        as_of: this.memory.bounded(filters.asOf),
      }),
    };
  }
}

/** Return the fields that have a value. */
function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const kept = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

function seconds(moment: Moment | undefined): number | undefined {
  return moment === undefined ? undefined : unixSeconds(moment);
}

function withStates<T extends { state_vector?: number[] | null; next_state_vector?: number[] | null }>(
  found: T,
): Experience<T> {
  const { state_vector, next_state_vector, ...rest } = found;
  return { ...rest, state: array(state_vector), nextState: array(next_state_vector) };
}

function array(numbers: number[] | null | undefined): Float32Array | undefined {
  return numbers ? Float32Array.from(numbers) : undefined;
}
