// The frame: navigation, the key, and the view that is open.

import { html, useEffect, useErrorBoundary, useState } from "../../vendor/ui.js";
import { go, link, route, START } from "../core/route.js";
import { isDark, switchTheme, switchZone, zone } from "../core/preferences.js";
import { identity, isAdmin, key, refusal, useKey } from "../core/session.js";
import { Icon } from "../parts/icons.js";
import { Empty, Loading, ProblemNotice } from "../parts/notice.js";
import { KeyForm } from "./key_form.js";
import { Shortcuts, openShortcuts } from "./shortcuts.js";
import { VIEWS, viewOf } from "./views.js";

export function Shell() {
  return html`
    <a class="skip" href="#main" onClick=${toMain}>Skip to the view</a>
    <div class="shell">
      <${Side} />
      <main class="main" id="main" tabindex="-1">
        ${refusal.value ? html`<${KeyForm} />` : html`<${Guarded} key=${`${key.value} ${route.value.view}`} />`}
      </main>
    </div>
    <${Shortcuts} />
  `;
}

function toMain(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Side() {
  const { view } = route.value;
  return html`<header class="side">
    <a class="brand" href=${link(START)}><img src="icon.svg" alt="" />Coinswarm Memory</a>
    <nav class="nav" aria-label="Views">
      ${VIEWS.map(
        ({ name, title }) => html`<a key=${name} href=${link(name)}
          aria-current=${view === name ? "page" : undefined}><${Icon} name=${name} />${title}</a>`,
      )}
      ${isAdmin.value &&
      html`<a href=${link("actions")} aria-current=${view === "actions" ? "page" : undefined}>
        <${Icon} name="actions" />Actions</a>`}
    </nav>
    <div class="side-end">
      <${Identity} />
      <div class="side-tools">
        <button class="button plain" onClick=${switchZone} title="Switch between UTC and local time"
          aria-label=${`Times are ${zone.value === "utc" ? "UTC" : "local"}: switch`}>
          ${zone.value === "utc" ? "UTC" : "Local"}
        </button>
        <button class="button plain icon" onClick=${switchTheme} title="Dark or light"
          aria-label=${isDark.value ? "Switch to light" : "Switch to dark"}>
          <${Icon} name=${isDark.value ? "sun" : "moon"} />
        </button>
        <button class="button plain icon" onClick=${openShortcuts} title="Keyboard shortcuts"
          aria-label="Keyboard shortcuts"><${Icon} name="keyboard" /></button>
      </div>
    </div>
  </header>`;
}

function Identity() {
  const known = identity.value;
  if (!key.value) {
    return html`<div class="identity soft">${known ? "This service asks for no key." : ""}</div>`;
  }
  const agents = known?.agents?.length ? known.agents.join(", ") : "all agents";
  return html`<div class="identity soft">
    <div>${known ? `Role ${known.role}, ${agents}` : "Your key"}</div>
    <button class="button plain" onClick=${() => useKey("")}>Forget the key</button>
  </div>`;
}

/** The view that is open, or what it failed with: the navigation stays. */
function Guarded() {
  const [failure, again] = useErrorBoundary(reportError);
  if (failure) return html`<${ProblemNotice} problem=${failure} onRetry=${again} />`;
  return html`<${Opened} />`;
}

/** The view of the address, loaded when it is first opened. */
function Opened() {
  const { view, params } = route.value;
  const [loaded, setLoaded] = useState({ view: null, View: null, problem: null });
  useEffect(() => {
    const known = viewOf(view);
    document.title = known ? `${known.title} · Coinswarm Memory` : "Coinswarm Memory";
    if (!known) return;
    known.load().then(
      ({ View }) => setLoaded({ view, View, problem: null }),
      (problem) => setLoaded({ view, View: null, problem }),
    );
  }, [view]);
  if (!viewOf(view)) {
    return html`<${Empty} title=${`There is no view ${view}`}>
      <button class="button" onClick=${() => go(START)}>Open Ask</button>
    <//>`;
  }
  if (loaded.view !== view) return html`<${Loading} what="the view" />`;
  if (loaded.problem) return html`<${ProblemNotice} problem=${loaded.problem} />`;
  return html`<${loaded.View} params=${params} />`;
}
