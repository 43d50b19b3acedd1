// Colours of data, distinguishable for people with colour-blindness, on light and on dark.

import { isDark } from "./preferences.js";

const ON_LIGHT = ["#2f5bd7", "#b8651b", "#0b7a55", "#8a3fb5", "#a8325a", "#4f6b7a", "#6b7a1f", "#8c564b"];
const ON_DARK = ["#86a8ff", "#f0a35e", "#4cc38a", "#c79bf0", "#f28bab", "#9fb8c6", "#c3d45c", "#d3a294"];

/** The colour of the n-th of several kinds. */
export function categoryColour(n) {
  const colours = isDark.value ? ON_DARK : ON_LIGHT;
  return colours[n % colours.length];
}

/** How many kinds have a colour of their own. */
export const CATEGORIES = ON_LIGHT.length;

/** One colour for each name; the same names get the same ones in any order. */
export function coloursOf(names) {
  const known = [...new Set(names)].sort();
  return new Map(known.map((name, n) => [name, categoryColour(n)]));
}
