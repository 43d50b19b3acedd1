// The foot of a list that comes in pages: where one is, and the way to the others.

import { html } from "../../vendor/ui.js";
import { count } from "../core/format.js";

/**
 * `pages`: of usePages; `next`: the next page's cursor, null on the last one. With `shown` and
 * `total` it says which entries these are, `perPage` of them on each page.
 */
export function Pager({ pages, next, total = null, shown = 0, perPage = 0, words = ["Previous", "Next"] }) {
  if (pages.isFirst && !next && total === null) return null;
  const before = (pages.number - 1) * perPage;
  return html`<div class="more">
    <span>${total === null ? `Page ${count(pages.number)}` : `${count(before + 1)}–${count(before + shown)} of ${count(total)}`}</span>
    <span>
      <button class="button plain" disabled=${pages.isFirst} onClick=${pages.back}>${pages.leadsToFirst ? "First page" : words[0]}</button>
      <button class="button plain" disabled=${!next} onClick=${() => pages.next(next)}>${words[1]}</button>
    </span>
  </div>`;
}
