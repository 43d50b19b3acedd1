import type { components } from "./contract.js";
import { finished } from "./jobs.js";
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

/** How to recall. With `vectors`, the answer includes the states. `metric` names a learned distance.
 *
 * `recall` returns a `recall_id`: store what you then do under it, or call `decide`. */
export interface RecallOptions extends Filters {
  k?: number;
  scope?: "own" | "others" | "all";
  maxDistance?: number;
  exact?: boolean;
  vectors?: boolean;
  metric?: string;
  recall?: boolean;
}

/** What else is known of a decision. `arm` is checked against the recall's. */
export interface DecideOptions {
  arm?: Schemas["Decision"]["arm"];
  product?: string;
  regime?: string;
}

/** Which outcomes teach a distance. `names`: what your encoder calls the numbers of a state. */
export interface LearnOptions {
  product?: string | string[];
  regime?: string | string[];
  action?: string;
  since?: Moment;
  until?: Moment;
  asOf?: Moment;
  horizon?: string | number;
  scaled?: boolean;
  names?: string[];
}

/** Which memories are asked, which answer, and what decides. */
export interface EvaluateOptions extends Omit<LearnOptions, "names"> {
  scope?: "own" | "others" | "all";
  k?: number;
  metric?: string;
  kernel?: "inverse" | "rbf";
  delta?: number;
  bandwidth?: number;
  distinct?: "outcome" | "none";
  stopLoss?: number;
  cost?: number;
  statistic?: "rank_correlation" | "brier" | "interval_score" | "profit";
  placebos?: number;
  seed?: number;
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

  /** Say what this agent does upon a recall, where it does not remember it under that id. */
  async decide(recallId: string, action: string, options: DecideOptions = {}): Promise<Schemas["Decision"]> {
    this.memory.requirePresent("Deciding");
    const more = given({ arm: options.arm, product_id: options.product, regime: options.regime });
    const body = { recall_id: recallId, action, agent_id: this.id, ...more };
    return answer(await this.memory.api.POST("/v1/decisions", { body }));
  }

  /** Say what came of a decision. */
  async closeDecision(recallId: string, reward: number): Promise<Schemas["DecisionClosed"]> {
    this.memory.requirePresent("Closing");
    const request = { params: { path: { recall_id: recallId } }, body: { reward, agent_id: this.id } };
    return answer(await this.memory.api.POST("/v1/decisions/{recall_id}/outcome", request));
  }

  /** Return what the memory adds to this agent's decisions, by product and regime too. */
  async uplift(): Promise<Schemas["Uplift"]> {
    this.memory.requirePresent("Comparing");
    const query = { agent_id: this.id };
    return answer(await this.memory.api.GET("/v1/uplift", { params: { query } })) as Schemas["Uplift"];
  }

  /** Return whether this agent's memory helped it, against placebos: `result.verdict`.
   *
   * Waits until the service is done, for half a minute and more. */
  async evaluate(options: EvaluateOptions = {}): Promise<Schemas["Evaluation"]> {
    const body = {
      ...this.lessons(options),
      ...given({
        scope: options.scope,
        top_k: options.k,
        metric: options.metric,
        kernel: options.kernel,
        delta: options.delta,
        bandwidth: options.bandwidth,
        distinct: options.distinct,
        stop_loss: options.stopLoss,
        cost: options.cost,
        statistic: options.statistic,
        placebos: options.placebos,
        seed: options.seed,
      }),
    };
    const { api } = this.memory;
    return finished(answer(await api.POST("/v1/evaluate", { body })), async (id) =>
      answer(await api.GET("/v1/evaluate/{id}", { params: { path: { id } } })),
    );
  }

  /** Learn which numbers of a state matter: `distance`, null if none does. Its id is a `metric`.
   *
   * Waits until the service is done. */
  async learn(options: LearnOptions = {}): Promise<Schemas["DistanceFit"]> {
    const body = { ...this.lessons(options), ...given({ names: options.names }) };
    const query = given({ as_of: body.as_of });
    const { api } = this.memory;
    return finished(answer(await api.POST("/v1/distances", { body })), async (id) =>
      answer(await api.GET("/v1/distances/{id}", { params: { path: { id }, query } })),
    );
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
        metric: options.metric,
        recall: options.recall,
      }),
    };
  }

  private lessons(options: LearnOptions) {
    return {
      agent_id: this.id,
      ...given({
        product_id: options.product,
        regime: options.regime,
        action: options.action,
        since: seconds(options.since),
        until: seconds(options.until),
        as_of: this.memory.bounded(options.asOf),
        horizon: options.horizon,
        scaled: options.scaled,
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
