// The question as the API takes it.

import { toBase64 } from "../../core/vectors.js";
import { DEFAULT_COUNT } from "./question.js";

const MAX_TIME_S = 1e11; // the latest time that the service takes

/** The moment as of which the link asks, unix seconds; null: now. A stored moment is asked as of
 * its own time, so that neither it nor what came after it answers. */
export function asOfOf(params, moment) {
  if (params.as_of === "now") return null;
  const asked = Number(params.as_of || NaN);
  if (Number.isFinite(asked) && asked >= 0 && asked <= MAX_TIME_S) return asked;
  return moment?.timestamp ?? null;
}

/** The body of search and of estimate. */
export function questionBody(params, state, asOf) {
  const body = {
    agent_id: params.agent,
    state_vector: toBase64(state),
    top_k: Number(params.k ?? DEFAULT_COUNT),
    distinct: params.distinct === "none" ? "none" : "outcome",
  };
  if (params.scope && params.scope !== "own") body.scope = params.scope;
  if (params.product) body.product_id = params.product;
  if (params.regime) body.regime = params.regime;
  if (params.action) body.action = params.action;
  if (asOf !== null) body.as_of = asOf;
  return body;
}
