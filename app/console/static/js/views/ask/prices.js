// A CSV of prices as the question: its bars become states, as the Python client makes them.

import { html, useState } from "../../../vendor/ui.js";
import { ROOT } from "../../core/api.js";
import { count, time } from "../../core/format.js";
import { toBase64 } from "../../core/vectors.js";
import { Select } from "../../parts/fields.js";
import { Warning } from "../../parts/notice.js";
import { DIMENSION, encode, WINDOW } from "../../encoder/encoder.js";
import { readBars } from "../../encoder/bars.js";

const MAX_BYTES = 50e6;

async function reference() {
  const response = await fetch(new URL("console/js/encoder/reference.json", ROOT));
  return response.json();
}

export function Prices({ dimension, onVector }) {
  const [read, setRead] = useState(null);
  const [wrong, setWrong] = useState(null);
  const [isOver, setOver] = useState(false);
  const open = async (file) => {
    if (!file) return;
    try {
      if (file.size > MAX_BYTES) throw new Error("The file is larger than 50 MB: give fewer bars.");
      const products = readBars(await file.text());
      setRead({ products, reference: await reference(), name: file.name });
      setWrong(null);
    } catch (error) {
      setRead(null);
      setWrong(error.message);
    }
  };
  if (dimension !== DIMENSION) {
    return html`<p class="card-body small soft">
      Prices become ${DIMENSION} numbers here, and this service takes ${dimension}. Encode them with
      the Python client's StateEncoder(dimension=${dimension}) and paste the vector.
    </p>`;
  }
  return html`<div class="card-body stack">
    <label class=${isOver ? "drop over" : "drop"}
      onDragOver=${(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave=${() => setOver(false)}
      onDrop=${(event) => { event.preventDefault(); setOver(false); open(event.dataTransfer.files[0]); }}>
      <strong>Drop a CSV of prices, or choose one</strong>
      <span class="small soft">
        Columns date and close; open, high, low, volume, adj close and symbol where they are known.
        It stays in this browser.
      </span>
      <input type="file" accept=".csv,text/csv" onChange=${(event) => open(event.target.files[0])} />
    </label>
    ${wrong && html`<p class="loss small" role="alert">${wrong}</p>`}
    ${read && html`<${Choose} key=${read.name} ...${read} onVector=${onVector} onWrong=${setWrong} />`}
    <p class="small soft">
      Encoded as the Python client's StateEncoder does, from ${WINDOW + 1} bars. It says something
      about memories that were stored with that encoder.
    </p>
  </div>`;
}

function Choose({ products, reference: known, onVector }) {
  const [product, setProduct] = useState(0);
  const [bar, setBar] = useState(null);
  let encoded;
  try {
    encoded = encode(products[product], known);
  } catch (error) {
    return html`<p class="loss small" role="alert">${error.message}</p>`;
  }
  const { states, times, barS, findings } = encoded;
  const chosen = Math.min(bar ?? states.length - 1, states.length - 1);
  return html`
    ${products.length > 1 &&
    html`<${Select} name="Product" value=${String(product)} onChange=${(value) => setProduct(Number(value))}
      options=${products.map((bars, i) => [String(i), bars.product || "no name"])} />`}
    ${findings.length > 0 && html`<${Warning}>${findings.map((text) => html`<span key=${text}>${text}</span>`)}<//>`}
    <label class="field">
      <span>Bar of ${time(times[chosen])}, ${count(chosen + 1)} of ${count(states.length)} states</span>
      <input type="range" min="0" max=${states.length - 1} value=${chosen}
        onInput=${(event) => setBar(Number(event.target.value))} />
    </label>
    <div><button class="button primary" onClick=${() => onVector(toBase64(states[chosen]), times[chosen] + barS)}>
      Ask about this state
    </button></div>`;
}
