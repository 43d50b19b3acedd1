// The console: which view is open, and the frame around it.

import { effect, html, render } from "../vendor/ui.js";
import { askWhoami } from "./core/identity.js";
import { key } from "./core/session.js";
import { listenForShortcuts } from "./shell/shortcuts.js";
import { Shell } from "./shell/shell.js";

effect(() => {
  askWhoami(key.value);
});
listenForShortcuts();
render(html`<${Shell} />`, document.getElementById("console"));
