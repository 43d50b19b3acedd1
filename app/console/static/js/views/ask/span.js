// One action's value and its spread on a scale that all actions share.

import { html } from "../../../vendor/ui.js";
import { signed } from "../../core/format.js";

const WIDTH = 180;
const HEIGHT = 22;
const MIDDLE = HEIGHT / 2;

export function Span({ of, domain: [low, high], colour }) {
  const x = (value) => Math.min(1, Math.max(0, (value - low) / (high - low))) * WIDTH;
  const { value, q05, q95, value_low: from, value_high: to, interval } = of;
  const text = `value ${signed(value)}, 5 % ${signed(q05)}, 95 % ${signed(q95)}`;
  return html`<svg class="span" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${text}>
    <line class="span-zero" x1=${x(0)} x2=${x(0)} y1="0" y2=${HEIGHT} />
    <line x1=${x(q05)} x2=${x(q95)} y1=${MIDDLE} y2=${MIDDLE} stroke=${colour} stroke-width="1.5" />
    ${from != null &&
    html`<line x1=${x(from)} x2=${x(to)} y1=${MIDDLE} y2=${MIDDLE} stroke=${colour} stroke-width="6"
      stroke-opacity=".45" />`}
    ${interval?.low != null && [interval.low, interval.high].map((end, i) => html`<path
      d=${`M${x(end) + (i ? -4 : 4)} 4H${x(end)}V${HEIGHT - 4}H${x(end) + (i ? -4 : 4)}`}
      fill="none" stroke=${colour} stroke-width="1.5" />`)}
    <circle cx=${x(value)} cy=${MIDDLE} r="4.5" fill=${colour} />
  </svg>`;
}
