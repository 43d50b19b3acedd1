// All views, in the order of the navigation. Each module is loaded when it is opened.

export const VIEWS = [
  { name: "ask", title: "Ask", key: "1", load: () => import("../views/ask/ask.js") },
  { name: "map", title: "Map", key: "2", load: () => import("../views/map/map.js") },
  { name: "swarm", title: "Swarm", key: "3", load: () => import("../views/swarm/swarm.js") },
  { name: "live", title: "Live", key: "4", load: () => import("../views/live/live.js") },
  { name: "patterns", title: "Patterns", key: "5", load: () => import("../views/patterns/patterns.js") },
  { name: "health", title: "Health", key: "6", load: () => import("../views/health/health.js") },
];

/** Views without a place in the navigation. */
const OTHERS = [
  { name: "runbook", title: "Runbook", load: () => import("../views/health/runbook.js") },
  { name: "actions", title: "Actions", load: () => import("../views/actions/actions.js") },
];

export function viewOf(name) {
  return [...VIEWS, ...OTHERS].find((view) => view.name === name);
}
