// Where the visitor is: the view and its parameters, kept in the address behind `#`.
//
// All that a view shows follows from them, so a link shows a colleague the same thing. What
// follows `#` is never sent to a server: no vector and no name ends up in an access log.

import { signal } from "../../vendor/ui.js";

export const START = "ask";

export const route = signal(parse(location.hash));

window.addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { view: path || START, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return the link to a view. Parameters that are null, undefined or "" are left out. */
export function link(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value != null && value !== "");
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Go to a view. `replace`: without a step of its own in the browser's history. */
export function go(view, params = {}, { replace = false } = {}) {
  const hash = link(view, params);
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, "", hash);
    route.value = parse(hash);
  } else {
    location.hash = hash;
  }
}

/** Change some parameters of the view that is open; null removes one. */
export function change(params, { replace = true } = {}) {
  const { view, params: now } = route.value;
  go(view, { ...now, ...params }, { replace });
}
