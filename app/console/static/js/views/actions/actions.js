// Actions: the one page that changes something. It opens for an admin only.

import { html } from "../../../vendor/ui.js";
import { identity, isAdmin } from "../../core/session.js";
import { Empty, Warning } from "../../parts/notice.js";
import { DeleteMemories } from "./delete_memories.js";
import { Prune } from "./prune.js";

export function View() {
  return html`<div class="view">
    <div class="view-head">
      <div>
        <h1>Actions</h1>
        <p>Everything else in the console only reads. Each action counts first what it would change.</p>
      </div>
    </div>
    ${isAdmin.value
      ? html`<${Warning}>What is deleted here cannot be recovered: take a backup first (runbook restore).<//>
          <div class="halves"><${Prune} /><${DeleteMemories} /></div>`
      : html`<div class="card"><${Empty} title="These take an admin's key">
          <p>${identity.value ? `Your key has the role ${identity.value.role}.` : "The service has not said yet what your key may do."}</p>
        <//></div>`}
  </div>`;
}
