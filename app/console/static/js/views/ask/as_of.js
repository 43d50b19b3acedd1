// The slider of time: the answer as it would have been then.

import { html, useEffect, useRef, useState } from "../../../vendor/ui.js";
import { call } from "../../core/api.js";
import { present } from "../../core/agents.js";
import { useResource } from "../../core/resource.js";
import { change } from "../../core/route.js";
import { Time } from "../../parts/words.js";
import { count, date, plural } from "../../core/format.js";

const DAY_S = 86400;
const REST_MS = 150;
/** The slider's length for an agent that has no memories and asks the others'. */
const NO_MEMORIES_S = 10 * 365.25 * DAY_S;

/** The first and the last moment of an agent's memory, unix seconds, and how much it holds. */
async function bounds(agent, signal) {
  const ask = (order) =>
    call("POST", "/v1/episodic/query", { body: { agent_id: agent, limit: 1, order, ...present() }, signal });
  const [first, last] = await Promise.all([ask("asc"), ask("desc")]);
  if (!first.memories.length) {
    const now = Date.now() / 1000;
    return { from: now - NO_MEMORIES_S, to: now, total: 0 };
  }
  const end = last.memories[0];
  return { from: first.memories[0].timestamp, to: Math.max(end.timestamp, end.outcome_at ?? 0), total: last.total };
}

/** How many of an agent's memories were known at a moment. */
async function knownAt(agent, asOf, signal) {
  const body = { agent_id: agent, limit: 1, as_of: asOf };
  return (await call("POST", "/v1/episodic/query", { body, signal })).total;
}

export function AsOf({ agent, asOf, moment }) {
  const known = useResource((signal) => bounds(agent, signal), [agent]);
  const then = useResource(asOf === null ? null : (signal) => knownAt(agent, asOf, signal), [agent, asOf]);
  const [dragged, setDragged] = useState(null);
  const timer = useRef(0);
  useEffect(() => setDragged(null), [asOf]);
  useEffect(() => () => clearTimeout(timer.current), []);
  if (!known.data) return null;
  const from = Math.floor(Math.min(known.data.from, moment?.timestamp ?? Infinity) / DAY_S);
  const to = Math.ceil(Math.max(known.data.to, moment?.timestamp ?? 0) / DAY_S) + 1; // the last one is now
  const shown = dragged ?? (asOf === null ? to : Math.min(asOf / DAY_S, to - 1));
  const set = (day) => {
    setDragged(day);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => change({ as_of: day >= to ? "now" : day * DAY_S }), REST_MS);
  };
  const text = shown >= to ? "now" : date(dragged === null ? asOf : dragged * DAY_S, "utc");
  return html`<section class="card" aria-label="As of">
    <div class="card-body as-of">
      <label class="as-of-slider">
        <span class="field-name">As of</span>
        <input type="range" min=${from} max=${to} step="any" value=${shown} aria-valuetext=${text}
          onInput=${(event) => set(Math.round(Number(event.target.value)))}
          onKeyDown=${(event) => stepByKey(event, shown, from, to, set)} />
      </label>
      <div class="as-of-text">
        <strong>${shown >= to ? "Now" : html`<${Time} at=${dragged === null ? asOf : dragged * DAY_S} />`}</strong>
        <span class="small soft">
          ${said(agent, known.data.total, shown >= to ? null : then.data)}
        </span>
      </div>
      <div class="row as-of-jumps">
        ${moment && html`<button class="button plain" onClick=${() => change({ as_of: null })}>The moment's own time</button>`}
        <button class="button plain" onClick=${() => change({ as_of: "now" })}>Now</button>
      </div>
    </div>
  </section>`;
}

/** What may answer: of all that is there, or of what was known then. */
function said(agent, total, then) {
  const all = plural(total, "memory", "memories");
  if (!total) return `${agent} has no memories of its own.`;
  if (then === null) return `What is known may answer: ${agent} has ${all}.`;
  return `Only what was known by then may answer: ${count(then)} of ${agent}'s ${all}.`;
}

const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -30, PageUp: 30 };

/** A day by an arrow key, thirty by a page key. */
function stepByKey(event, shown, from, to, set) {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  set(Math.min(to, Math.max(from, Math.round(shown) + step)));
}
