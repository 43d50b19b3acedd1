// What a visitor prefers in every tab: the colours, the time zone, keyboard shortcuts.

import { effect, signal } from "../../vendor/ui.js";

const PREFIX = "coinswarm-memory-";

function kept(name, start, allowed) {
  const stored = localStorage.getItem(PREFIX + name);
  const preference = signal(allowed.includes(stored) ? stored : start);
  effect(() => localStorage.setItem(PREFIX + name, preference.value));
  return preference;
}

export const theme = kept("theme", "system", ["system", "light", "dark"]);
export const zone = kept("zone", "utc", ["utc", "local"]);
export const shortcuts = kept("shortcuts", "on", ["on", "off"]);

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark now. */
export const isDark = signal(false);

function show() {
  isDark.value = theme.value === "dark" || (theme.value === "system" && prefersDark.matches);
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
}

effect(show);
prefersDark.addEventListener("change", show);

/** Change to the other colours. */
export function switchTheme() {
  theme.value = isDark.value ? "light" : "dark";
}

/** Change between UTC and local time. */
export function switchZone() {
  zone.value = zone.value === "utc" ? "local" : "utc";
}
