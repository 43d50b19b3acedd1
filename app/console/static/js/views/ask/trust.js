// How far the answer can be trusted, in figures that say what they mean.

import { html } from "../../../vendor/ui.js";
import { count, fixed, milliseconds, share } from "../../core/format.js";

const UNUSUAL = 0.95;

export function Trust({ found, estimate }) {
  const { novelty, confidence, distinct, overlapping } = estimate;
  return html`<dl class="figures" aria-label="How far the answer can be trusted">
    <${Figure} name="Novelty" value=${fixed(novelty, 2)} note=${noveltySaid(novelty)} />
    <${Figure} name="Confidence" value=${fixed(confidence, 2)}
      note=${confidence == null ? NOT_KEPT : "0 to 1: many near moments raise it, novelty lowers it; no probability"} />
    <${Figure} name="Outcomes that count" value=${count(distinct)}
      note=${overlapping ? `${count(overlapping)} more cover the same days as a nearer one` : "none overlaps with a nearer one"} />
    <${Figure} name="Nearest moment" value=${fixed(Math.max(0, found.memories[0].distance), 3)}
      note="cosine distance: 0 the same state, 1 unrelated" />
    <${Figure} name="Search took" value=${milliseconds(found.took_ms)}
      note=${found.exact ? "exact: no nearer moment exists" : "approximate: a near moment may be missing"} />
  </dl>`;
}

const NOT_KEPT = "not known: these agents hold too many memories";

function noveltySaid(novelty) {
  if (novelty == null) return NOT_KEPT;
  if (novelty > UNUSUAL) return "0 to 1: unusual, nearly all past moments had a nearer one";
  return `0 to 1: ${share(novelty)} of past moments had a nearer one`;
}

function Figure({ name, value, note }) {
  return html`<div><dt>${name}</dt><dd>${value}<small>${note}</small></dd></div>`;
}
