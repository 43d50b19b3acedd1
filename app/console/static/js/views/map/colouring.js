// Which colour each point has, as 32-bit pixels, and what the legend says of them.

import { categoryColour, CATEGORIES } from "../../core/colours.js";
import { isDark } from "../../core/preferences.js";
import { quantile } from "../../core/statistics.js";

export const COLOURINGS = [
  ["reward", "by reward"], ["regime", "by regime"], ["product", "by product"], ["action", "by action"],
  ["age", "by age"],
];

const COLUMNS = { regime: "regime", product: "product_id", action: "action" };
const STEPS = 64;

// Loss, nothing, gain: told apart by people who see no red or no green.
const REWARD = { light: ["#b93a22", "#c9ced6", "#0b7a55"], dark: ["#ff8a70", "#424b56", "#4cc38a"] };
const AGE = { light: ["#b7c4e8", "#2f5bd7", "#0e1f57"], dark: ["#26324f", "#5c83ea", "#d5e0ff"] };
const OPEN = { light: "#9aa1ab", dark: "#6b7480" };

/** Return `{pixels, kind, ...}`: a pixel for each point and what the legend needs. */
export function colouring(columns, by) {
  const side = isDark.value ? "dark" : "light";
  if (by === "reward") return rewards(columns.reward, side);
  if (by === "age") return ages(columns.timestamp, side);
  return categories(columns[COLUMNS[by] ?? "regime"], side);
}

function rewards(values, side) {
  const known = values.filter((value) => value !== null);
  const limit = quantile(known.map(Math.abs), 0.95) || 1;
  const palette = ramp(REWARD[side]);
  const open = pixel(OPEN[side]);
  const pixels = Uint32Array.from(values, (value) =>
    value === null ? open : palette[stepOf((value / limit + 1) / 2)],
  );
  return { kind: "reward", pixels, limit, stops: REWARD[side], open: OPEN[side], hasOpen: known.length < values.length };
}

function ages(times, side) {
  const first = times.reduce((a, b) => Math.min(a, b), Infinity);
  const last = times.reduce((a, b) => Math.max(a, b), -Infinity);
  const palette = ramp(AGE[side]);
  const pixels = Uint32Array.from(times, (at) => palette[stepOf((at - first) / (last - first || 1))]);
  return { kind: "age", pixels, first, last, stops: AGE[side] };
}

/** The most frequent names get colours of their own, the others share the last one. */
function categories({ names, codes }, side) {
  const counts = new Array(names.length).fill(0);
  for (const code of codes) counts[code] += 1;
  const order = names.map((_, code) => code).sort((a, b) => counts[b] - counts[a]);
  const own = new Map(order.slice(0, CATEGORIES).map((code, n) => [code, categoryColour(n)]));
  const colourOf = (code) => own.get(code) ?? OPEN[side];
  const palette = names.map((_, code) => pixel(colourOf(code)));
  const entries = [...own].map(([code, colour]) => ({ name: names[code] ?? "none", colour, count: counts[code] }));
  const others = order.slice(CATEGORIES).reduce((sum, code) => sum + counts[code], 0);
  if (others) entries.push({ name: "others", colour: OPEN[side], count: others });
  return { kind: "names", pixels: Uint32Array.from(codes, (code) => palette[code]), entries };
}

const stepOf = (part) => Math.min(STEPS - 1, Math.max(0, Math.floor(part * STEPS)));

function ramp(stops) {
  const [low, middle, high] = stops.map(channels);
  return Uint32Array.from({ length: STEPS }, (_, i) => {
    const at = (i / (STEPS - 1)) * 2;
    const [from, to, part] = at < 1 ? [low, middle, at] : [middle, high, at - 1];
    return packed(from.map((value, n) => value + (to[n] - value) * part));
  });
}

const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
const packed = ([red, green, blue]) => ((255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0;

/** A colour as a pixel of ImageData on a little-endian machine, which browsers run on. */
export const pixel = (colour) => packed(channels(colour));
