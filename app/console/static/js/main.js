// The console: which view is open, and the frame around it.

import { effect, html, render } from "../vendor/ui.js";
import { askForAgentsAhead } from "./core/agents.js";
import { askWhoami } from "./core/identity.js";
import { route } from "./core/route.js";
import { key } from "./core/session.js";
import { listenForShortcuts } from "./shell/shortcuts.js";
import { Shell } from "./shell/shell.js";

const NEED_AGENTS = ["ask", "map"];

effect(() => {
  askWhoami(key.value);
});
if (NEED_AGENTS.includes(route.value.view)) askForAgentsAhead();
listenForShortcuts();
render(html`<${Shell} />`, document.getElementById("console"));
