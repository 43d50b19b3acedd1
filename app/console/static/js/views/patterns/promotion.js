// Whether consolidation has promoted a pattern.

import { html } from "../../../vendor/ui.js";

const BADGES = { promoted: "ok", deprecated: "bad", candidate: "" };

export function Promotion({ status }) {
  if (typeof status !== "string") return "–";
  return html`<span class=${`badge ${BADGES[status] ?? ""}`}>${status}</span>`;
}
