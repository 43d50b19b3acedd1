// A state that the visitor pastes.

import { html, useState } from "../../../vendor/ui.js";
import { readVector, toBase64 } from "../../core/vectors.js";
import { Field } from "../../parts/fields.js";

export function PastedVector({ dimension, onVector }) {
  const [typed, setTyped] = useState("");
  const [wrong, setWrong] = useState(null);
  const ask = (event) => {
    event.preventDefault();
    try {
      onVector(toBase64(readVector(typed, dimension)));
      setWrong(null);
    } catch (error) {
      setWrong(error.message);
    }
  };
  return html`<form class="card-body stack" onSubmit=${ask}>
    <${Field} name=${`${dimension} numbers, or base64 of float32`}>
      <textarea class="input" value=${typed} spellcheck=${false} placeholder="[0.12, -0.5, …]"
        onInput=${(event) => setTyped(event.target.value)} />
    <//>
    ${wrong && html`<p class="loss small" role="alert">${wrong}</p>`}
    <div><button class="button primary" type="submit">Ask about this state</button></div>
  </form>`;
}
