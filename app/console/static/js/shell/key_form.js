// Where a visitor types the key in, once.

import { html, useState } from "../../vendor/ui.js";
import { key, refusal, useKey } from "../core/session.js";
import { Field } from "../parts/fields.js";

export function KeyForm() {
  const [typed, setTyped] = useState("");
  const use = (event) => {
    event.preventDefault();
    if (typed.trim()) useKey(typed.trim());
  };
  return html`<form class="key-form card" onSubmit=${use}>
    <div class="card-head"><h1>Enter an API key</h1></div>
    <div class="card-body stack">
      ${key.value
        ? html`<p role="alert" class="loss">${refusal.value.message}</p>`
        : html`<p class="soft">What you see depends on what your key may see.</p>`}
      <${Field} name="API key">
        <input class="input mono" type="password" autocomplete="off" required value=${typed}
          onInput=${(event) => setTyped(event.target.value)} />
      <//>
      <p class="small soft">
        It is kept for this tab only and sent to this service only. An operator creates one with
        ${" "}<code>./memory keys create --role read</code>.
      </p>
      <div><button class="button primary" type="submit">Open the console</button></div>
    </div>
  </form>`;
}
