// What the colours of the map mean.

import { html } from "../../../vendor/ui.js";
import { count, date, signed } from "../../core/format.js";

export function Legend({ colours }) {
  if (colours.kind === "names") {
    return html`<div class="legend map-legend">
      ${colours.entries.map(
        ({ name, colour, count: held }) => html`<span key=${name}><span class="swatch" style=${{ background: colour }}></span>
          ${name} ${count(held)}</span>`,
      )}
    </div>`;
  }
  const isReward = colours.kind === "reward";
  const ends = isReward ? [signed(-colours.limit, 3), signed(colours.limit, 3)] : [date(colours.first), date(colours.last)];
  return html`<div class="legend map-legend">
    <span>${ends[0]}</span>
    <span class="ramp" style=${{ background: `linear-gradient(to right, ${colours.stops.join(", ")})` }}></span>
    <span>${ends[1]}</span>
    ${isReward && html`<span>reward, cut at its 95 % quantile</span>`}
    ${colours.hasOpen && html`<span><span class="swatch" style=${{ background: colours.open }}></span>open</span>`}
  </div>`;
}
