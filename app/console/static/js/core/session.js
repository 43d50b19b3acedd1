// The visitor's key. It is kept for this tab alone: in sessionStorage, never in a link or a cookie.

import { computed, signal } from "../../vendor/ui.js";

const STORED = "coinswarm-memory-key";

export const key = signal(sessionStorage.getItem(STORED) ?? "");

/** What the service says of the key; null until it has answered. */
export const identity = signal(null);

/** Whether the service has said what the key allows, or does not answer that question. */
export const isIdentified = signal(false);

/** A problem with the key that the visitor has to solve: missing or not valid. */
export const refusal = signal(null);

export const isAdmin = computed(() => identity.value?.role === "admin");

export function useKey(value) {
  if (value) sessionStorage.setItem(STORED, value);
  else sessionStorage.removeItem(STORED);
  identity.value = null;
  isIdentified.value = false;
  refusal.value = null;
  key.value = value;
}
