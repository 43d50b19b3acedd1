// Times, rewards and distances in a line of text or a table.

import { html } from "../../vendor/ui.js";
import { date, fixed, signed, time } from "../core/format.js";
import { zone } from "../core/preferences.js";

/** A time in the zone of choice; the other one shows on hovering. */
export function Time({ at, short = false }) {
  if (at == null) return "–";
  const other = zone.value === "utc" ? "local" : "utc";
  const shown = short ? date(at) : time(at);
  return html`<time datetime=${new Date(at * 1000).toISOString()}
    title=${`${time(at)} = ${time(at, { inZone: other })}`} class="nowrap">${shown}</time>`;
}

/** A reward; without one `missing`: an open memory has none yet. */
export function Reward({ value, decimals = 4, missing = "open" }) {
  if (value == null) return html`<span class="soft">${missing}</span>`;
  const kind = value > 0 ? "gain" : value < 0 ? "loss" : "";
  return html`<span class=${kind}>${signed(value, decimals)}</span>`;
}

export function Distance({ value }) {
  return html`<span title=${String(value)}>${fixed(Math.max(0, value), 4)}</span>`;
}

const BADGES = { ok: "ok", ready: "ok", degraded: "warn", building: "warn", failed: "bad" };

export function Status({ value }) {
  return html`<span class=${`badge ${BADGES[value] ?? "warn"}`}>${value}</span>`;
}
