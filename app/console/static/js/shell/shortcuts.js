// Keyboard shortcuts, and the dialog that lists them. They can be turned off.

import { html, signal, useEffect, useRef } from "../../vendor/ui.js";
import { go } from "../core/route.js";
import { shortcuts, switchTheme, switchZone } from "../core/preferences.js";
import { VIEWS } from "./views.js";

const isOpen = signal(false);

export function openShortcuts() {
  isOpen.value = true;
}

const KEYS = new Map([
  ["?", openShortcuts],
  ["t", switchTheme],
  ["z", switchZone],
  ["/", () => document.querySelector("main input, main select, main textarea")?.focus()],
  ...VIEWS.map(({ name, key }) => [key, () => go(name)]),
]);

const TYPING = "input, select, textarea, [contenteditable]";

export function listenForShortcuts() {
  document.addEventListener("keydown", (event) => {
    if (shortcuts.value === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.(TYPING) || document.querySelector("dialog[open]")) return;
    const action = KEYS.get(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

export function Shortcuts() {
  const dialog = useRef(null);
  useEffect(() => {
    if (isOpen.value && !dialog.current.open) dialog.current.showModal();
  }, [isOpen.value]);
  return html`<dialog ref=${dialog} onClose=${() => (isOpen.value = false)} aria-labelledby="shortcuts-title">
    <div class="card-head">
      <h2 id="shortcuts-title">Keyboard shortcuts</h2>
      <button class="button plain" onClick=${() => dialog.current.close()}>Close</button>
    </div>
    <div class="card-body stack">
      <dl class="facts">
        ${VIEWS.map(({ name, title, key }) => html`<${Line} key=${name} of=${key} text=${title} />`)}
        <${Line} of="/" text="First field of the view" />
        <${Line} of="z" text="UTC or local time" />
        <${Line} of="t" text="Dark or light" />
        <${Line} of="?" text="This list" />
      </dl>
      <label>
        <input type="checkbox" checked=${shortcuts.value === "on"}
          onChange=${(event) => (shortcuts.value = event.target.checked ? "on" : "off")} />
        ${" "}Single keys are shortcuts
      </label>
    </div>
  </dialog>`;
}

function Line({ of, text }) {
  return html`<dt><kbd>${of}</kbd></dt><dd>${text}</dd>`;
}
