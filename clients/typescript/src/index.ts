/** Client of Coinswarm Memory: a thin fetch client with the types of the service's OpenAPI document. */

export { Agent } from "./agent.js";
export type {
  DecideOptions, EvaluateOptions, Experience, Fields, Filters, LearnOptions, RecallOptions,
} from "./agent.js";
export type { components, paths } from "./contract.js";
export { LookAhead, MemoryError, ReadOnlyView, ServiceProblem } from "./errors.js";
export { Memory } from "./memory.js";
export type { MemoryOptions, Moment } from "./memory.js";
export { decodeVector, encodeVector } from "./vectors.js";
export type { Vector } from "./vectors.js";
