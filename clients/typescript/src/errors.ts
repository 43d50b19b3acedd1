/** Base of all errors of this package. */
export class MemoryError extends Error {}

/** The service refused a request or failed to carry it out (RFC 9457).
 *
 * `code` is stable. `retryable`: the same request may succeed if it is repeated, and stores nothing twice. */
export class ServiceProblem extends MemoryError {
  override name = "ServiceProblem";
  readonly code: string;
  readonly status: number;
  readonly retryable: boolean;
  readonly field: string | undefined;
  readonly requestId: string | undefined;
  readonly retryAfterS: number | undefined;

  /** `response` carried the problem; undefined for that of a job. */
  constructor(problem: Record<string, unknown>, response?: Response) {
    const status = response?.status ?? Number(problem.status);
    super(typeof problem.detail === "string" ? problem.detail : `HTTP ${status}`);
    this.code = typeof problem.code === "string" ? problem.code : "unknown";
    this.status = status;
    this.retryable = problem.retryable === true;
    this.field = typeof problem.field === "string" ? problem.field : undefined;
    this.requestId = response?.headers.get("x-request-id") ?? undefined;
    const pause = Number(response?.headers.get("retry-after") ?? Number.NaN);
    this.retryAfterS = Number.isFinite(pause) ? pause : undefined;
  }
}

/** A question asks about a later moment than that of its view. */
export class LookAhead extends MemoryError {
  override name = "LookAhead";
}

/** A view of the past cannot be written to. */
export class ReadOnlyView extends MemoryError {
  override name = "ReadOnlyView";
}
