// A table with numbers to the right, which sorts what it holds.

import { html } from "../../vendor/ui.js";
import { change, route } from "../core/route.js";

function compare(one, other) {
  if (one == null) return other == null ? 0 : 1;
  if (other == null) return -1;
  return typeof one === "number" ? one - other : String(one).localeCompare(String(other));
}

function sorted(rows, column, isDescending) {
  const ordered = [...rows].sort((a, b) => {
    const [one, other] = [column.sort(a), column.sort(b)];
    if (one == null || other == null) return compare(one, other); // what is missing comes last
    return isDescending ? compare(other, one) : compare(one, other);
  });
  return ordered;
}

/** The order that a link names: "reward" with the smallest first, "-reward" with the largest. */
function orderOf(text) {
  if (!text) return null;
  return { name: text.replace(/^-/, ""), isDescending: text.startsWith("-") };
}

/**
 * `columns`: `{name, title, of: row => content, sort?: row => value, kind?: "number" | "text"}`.
 * A column with `sort` sorts on a click; `first` names the one to begin with, largest first. The
 * order is part of the link, under the caption's name.
 */
export function Table({ caption, columns, rows, rowKey, first = null, isChosen, isTall = false }) {
  const parameter = `sort ${caption.toLowerCase()}`.replaceAll(" ", "-");
  const order = orderOf(route.value.params[parameter] ?? (first && `-${first}`));
  const column = order && columns.find(({ name }) => name === order.name);
  const shown = column?.sort ? sorted(rows, column, order.isDescending) : rows;
  const turn = (name) =>
    change({ [parameter]: order?.name === name && order.isDescending ? name : `-${name}` });
  return html`<div class=${isTall ? "table-frame tall" : "table-frame"} tabindex="0" role="group"
    aria-label=${caption}>
    <table>
      <caption class="visually-hidden">${caption}</caption>
      <thead>
        <tr>
          ${columns.map((c) => {
            const isOrder = order?.name === c.name;
            const direction = order?.isDescending ? "descending" : "ascending";
            return html`<th key=${c.name} scope="col" class=${c.kind}
              aria-sort=${isOrder ? direction : undefined}>
              ${c.sort
                ? html`<button onClick=${() => turn(c.name)}>
                    ${c.title}${isOrder ? (order.isDescending ? " ↓" : " ↑") : ""}
                  </button>`
                : c.title}
            </th>`;
          })}
        </tr>
      </thead>
      <tbody>
        ${shown.map(
          (row) => html`<tr key=${rowKey(row)} class=${isChosen?.(row) ? "chosen" : undefined}>
            ${columns.map((c) => html`<td key=${c.name} class=${c.kind}>${c.of(row)}</td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
