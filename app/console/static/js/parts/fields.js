// Controls of a question.

import { html, useEffect, useId, useRef, useState } from "../../vendor/ui.js";

export function Field({ name, children }) {
  return html`<label class="field"><span>${name}</span>${children}</label>`;
}

export function Select({ name, value, options, onChange }) {
  return html`<${Field} name=${name}>
    <select class="input" aria-label=${name} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([of, text]) => html`<option key=${of} value=${of}>${text}</option>`)}
    </select>
  <//>`;
}

/** A text that counts when it is done: on Enter, or when the visitor goes elsewhere. */
export function Text({ name, value, onChange, suggestions = null, placeholder, type = "text", ...more }) {
  const [typed, setTyped] = useState(value ?? "");
  const list = useId();
  useEffect(() => setTyped(value ?? ""), [value]);
  const done = (text) => {
    if (text !== (value ?? "")) onChange(text);
  };
  return html`<${Field} name=${name}>
    <input class="input" type=${type} value=${typed} placeholder=${placeholder} autocomplete="off"
      list=${suggestions ? list : undefined}
      onInput=${(event) => {
        setTyped(event.target.value);
        if (suggestions?.includes(event.target.value)) done(event.target.value);
      }}
      onChange=${(event) => done(event.target.value)} ...${more} />
    ${suggestions &&
    html`<datalist id=${list}>
      ${suggestions.map((of) => html`<option key=${of} value=${of} />`)}
    </datalist>`}
  <//>`;
}

/** A few choices beside each other. */
export function Choice({ name, value, options, onChange }) {
  return html`<div class="field" role="group" aria-label=${name}>
    <div class="tabs">
      ${options.map(
        ([of, text]) => html`<button key=${of} type="button" aria-pressed=${value === of}
          onClick=${() => onChange(of)}>${text}</button>`,
      )}
    </div>
  </div>`;
}

/** A text to copy with one press. */
export function Copyable({ name, text }) {
  const [isCopied, setCopied] = useState(false);
  const shown = useRef(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      // No clipboard without TLS or permission: mark the text, so that Ctrl-C takes it.
      getSelection().selectAllChildren(shown.current);
    }
  };
  return html`<div class="stack">
    <pre class="code" ref=${shown} tabindex="0" aria-label=${name}>${text}</pre>
    <div><button class="button" onClick=${copy}>${isCopied ? "Copied" : `Copy ${name}`}</button></div>
  </div>`;
}
