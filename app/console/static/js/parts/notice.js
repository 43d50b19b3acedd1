// What a view says when there is nothing to show: an error, nothing stored, still loading.

import { html } from "../../vendor/ui.js";
import { identity } from "../core/session.js";

/** An error of the API in its own sentence. */
export function ProblemNotice({ problem, onRetry }) {
  if (problem.field === "as_of" && identity.value?.require_as_of) return html`<${OfThePresent} />`;
  const about = [problem.code, problem.status || null, problem.requestId && `request ${problem.requestId}`];
  return html`<div class="notice bad" role="alert">
    <strong>${problem.message}</strong>
    <span class="small soft">${about.filter(Boolean).join(" · ")}</span>
    ${onRetry && html`<span><button class="button" onClick=${onRetry}>Try again</button></span>`}
  </div>`;
}

/** What a visitor reads whose key must name a moment. */
function OfThePresent() {
  return html`<${Empty} title="Not shown to this key">
    <p>This is about the present, and your key may see the past alone: each of its questions must name a moment.</p>
  <//>`;
}

export function Warning({ children }) {
  return html`<div class="notice warn" role="status">${children}</div>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><strong>${title}</strong>${children}</div>`;
}

/** `slowly`: why it may take long, shown when it does. */
export function Loading({ what, slowly }) {
  return html`<div class="loading" role="status">
    <span>Loading ${what} … ${slowly && html`<span class="slowly">${slowly}</span>`}</span>
  </div>`;
}

/** What to do first if nothing is stored. */
export function NothingStored() {
  return html`<${Empty} title="Nothing is stored yet">
    <p>
      Fill the memory with 150,000 real market days: run <code>make demo</code> beside the running
      service. Or store an experience with <code>POST /v1/episodic</code>.
    </p>
  <//>`;
}

/** What to do if an agent has no memories. */
export function NoMemories({ agent }) {
  return html`<${Empty} title=${`${agent} has no memories`}>
    <p>
      Choose another agent above, or check the name: capitals count. An agent appears with its
      first <code>POST /v1/episodic</code>.
    </p>
  <//>`;
}

/**
 * A resource as its view: loading, refused, or `children(data)`. A later question keeps the former
 * answer on the page, dimmed.
 */
export function Resource({ resource, what, slowly, children }) {
  const { data, problem, isLoading, reload } = resource;
  return html`
    ${problem && html`<${ProblemNotice} problem=${problem} onRetry=${reload} />`}
    ${data === null && isLoading && html`<${Loading} what=${what} slowly=${slowly} />`}
    ${data !== null &&
    html`<div class=${isLoading || problem ? "stack stale" : "stack"} aria-busy=${isLoading}>
      ${children(data)}
    </div>`}
  `;
}
