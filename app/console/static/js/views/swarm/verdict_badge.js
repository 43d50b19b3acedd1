// helps, harms or unproven.

import { html } from "../../../vendor/ui.js";

const BADGES = { helps: "ok", harms: "bad", unproven: "" };

export function VerdictBadge({ verdict }) {
  return html`<span class=${`badge ${BADGES[verdict]}`}>${verdict}</span>`;
}
