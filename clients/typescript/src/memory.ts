import createClient, { type Client } from "openapi-fetch";

import { Agent } from "./agent.js";
import type { paths } from "./contract.js";
import { LookAhead, ReadOnlyView, ServiceProblem } from "./errors.js";

/** Unix seconds, or a Date. */
export type Moment = number | Date;

export interface MemoryOptions {
  /** The API key, if the service asks for one. */
  apiKey?: string;
  /** How long a call may take; sent to the service as its deadline. Default: 5000. */
  timeoutMs?: number;
  /** Replaces the runtime's own fetch, for example to use a proxy. */
  fetch?: (request: Request) => Promise<Response>;
}

/** The media type that this client requests. The other one, Arrow columns, is for clients that read Arrow. */
type Json = "application/json";

const LATEST_S = 1e11;

/** Return a body as JSON. Throws RangeError for NaN and infinity: as JSON they are null, which a question takes for no
 * condition. */
function asJson(body: unknown): string {
  return JSON.stringify(body, (name, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new RangeError(`${name} is ${value}: it must be finite; leave it out where unknown`);
    }
    return value;
  });
}

/** A service's memory. `api` is the typed client of every route: `memory.api.GET("/v1/stats")`. */
export class Memory {
  readonly api: Client<paths, Json>;
  readonly asOf: number | undefined;

  constructor(url = "http://127.0.0.1:8000", options: MemoryOptions = {}) {
    const timeoutMs = options.timeoutMs ?? 5000;
    const carry = options.fetch ?? ((request: Request) => fetch(request));
    const headers: Record<string, string> = { "X-Deadline-Ms": String(timeoutMs) };
    if (options.apiKey !== undefined) headers.Authorization = `Bearer ${options.apiKey}`;
    this.api = createClient<paths, Json>({
      baseUrl: url.replace(/\/+$/, ""),
      headers,
      bodySerializer: asJson,
      fetch: (request) => carry(new Request(request, { signal: AbortSignal.timeout(timeoutMs) })),
    });
  }

  /** Return the memory of one agent. Nothing is sent. */
  agent(id: string): Agent {
    return new Agent(this, id);
  }

  /** Return a view of the memory as it was known at a moment, for backtests.
   *
   * Each question asked of it carries that moment as `as_of`. Throws LookAhead if this is a view of an earlier one. */
  at(moment: Moment): Memory {
    const view: Memory = Object.create(Memory.prototype) as Memory;
    return Object.assign(view, { api: this.api, asOf: this.bounded(moment) });
  }

  /** Return the moment that a question carries. Throws LookAhead if it is later than the view's. */
  bounded(moment: Moment | undefined): number | undefined {
    if (moment === undefined) return this.asOf;
    const asked = unixSeconds(moment);
    if (this.asOf !== undefined && asked > this.asOf) {
      throw new LookAhead(`as_of ${asked} is later than this view's moment ${this.asOf}`);
    }
    return asked;
  }

  /** Throw ReadOnlyView in a view of the past. */
  requirePresent(what: string): void {
    if (this.asOf !== undefined) {
      throw new ReadOnlyView(`${what} is not possible in a view of the past: use the memory, not memory.at()`);
    }
  }
}

/** Return a moment as unix seconds. Throws RangeError for milliseconds and for a number that is not finite. */
export function unixSeconds(moment: Moment): number {
  const seconds = moment instanceof Date ? moment.getTime() / 1000 : moment;
  if (!Number.isFinite(seconds)) throw new RangeError(`a time must be finite, got ${seconds}`);
  if (Math.abs(seconds) > LATEST_S) throw new RangeError(`a time must be seconds, not milliseconds, got ${seconds}`);
  return seconds;
}

/** Return the answer of a call. Throws ServiceProblem if the call failed. */
export function answer<T>(result: { data?: T; error?: unknown; response: Response }): T {
  if (result.data !== undefined) return result.data;
  const problem = typeof result.error === "object" && result.error !== null ? result.error : {};
  throw new ServiceProblem(problem as Record<string, unknown>, result.response);
}
