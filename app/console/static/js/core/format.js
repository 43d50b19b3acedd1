// Numbers with units, and times, as people read them.

import { zone } from "./preferences.js";

export const NONE = "–";
const MINUS = "−";
const DAY_S = 86400;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 150780 -> "150,780" */
export function count(value) {
  return value == null ? NONE : whole.format(value);
}

/** A number with a fixed number of decimals, "−0.0312". */
export function fixed(value, decimals = 3) {
  if (value == null || !Number.isFinite(value)) return NONE;
  const text = value.toFixed(decimals);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", MINUS);
}

/** A reward, its sign always shown: "+0.0777". */
export function signed(value, decimals = 4) {
  if (value == null || !Number.isFinite(value)) return NONE;
  const text = fixed(value, decimals);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

/** A share as per cent: 0.973 -> "97 %". */
export function share(value, decimals = 0) {
  return value == null ? NONE : `${fixed(value * 100, decimals)}\u00a0%`;
}

const BYTE_UNITS = ["B", "KB", "MB", "GB", "TB"];

/** Bytes in decimal units: 7563832 -> "7.6 MB". */
export function bytes(value) {
  if (value == null) return NONE;
  let unit = 0;
  let rest = value;
  while (rest >= 1000 && unit < BYTE_UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${rest >= 100 || unit === 0 ? whole.format(rest) : rest.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

/** Milliseconds: 3.086 -> "3.1 ms". */
export function milliseconds(value) {
  if (value == null) return NONE;
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

const pad = (value) => String(value).padStart(2, "0");

function parts(seconds, inZone) {
  const date = new Date(seconds * 1000);
  if (inZone === "utc") {
    return [
      date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(),
      date.getUTCMinutes(), date.getUTCSeconds(), "UTC",
    ];
  }
  const offset = -date.getTimezoneOffset();
  const sign = offset < 0 ? MINUS : "+";
  const label = `UTC${sign}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return [
    date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(),
    date.getSeconds(), label,
  ];
}

/** "2021-12-01 21:00 UTC", in the visitor's zone of choice unless one is given. */
export function time(seconds, { inZone = zone.value, withSeconds = false } = {}) {
  if (seconds == null) return NONE;
  const [year, month, day, hour, minute, second, label] = parts(seconds, inZone);
  const clock = `${pad(hour)}:${pad(minute)}${withSeconds ? `:${pad(second)}` : ""}`;
  return `${year}-${pad(month)}-${pad(day)} ${clock} ${label}`;
}

/** "2021-12-01", in the visitor's zone of choice. */
export function date(seconds, inZone = zone.value) {
  if (seconds == null) return NONE;
  const [year, month, day] = parts(seconds, inZone);
  return `${year}-${pad(month)}-${pad(day)}`;
}

/** "21:00:05", in the visitor's zone of choice. */
export function clock(seconds) {
  const [, , , hour, minute, second] = parts(seconds, zone.value);
  return `${pad(hour)}:${pad(minute)}:${pad(second)}`;
}

/** How long ago: "4 s ago", "3 min ago", "2 days ago". */
export function ago(seconds, now = Date.now() / 1000) {
  if (seconds == null) return NONE;
  return `${duration(Math.max(0, now - seconds))} ago`;
}

/** A length of time: 4 -> "4 s", 7200 -> "2 h". */
export function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 2 * DAY_S) return `${Math.round(seconds / 3600)} h`;
  return `${count(Math.round(seconds / DAY_S))} days`;
}

/** "1 memory", "3 memories". */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}
