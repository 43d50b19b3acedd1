// How much happens in each second.

import { html, useMemo } from "../../../vendor/ui.js";
import { categoryColour } from "../../core/colours.js";
import { count } from "../../core/format.js";
import { isDark } from "../../core/preferences.js";
import { TimeChart } from "../../parts/time_chart.js";

const KINDS = ["recall", "estimate", "store", "outcome"];

export function Rates({ seconds }) {
  const shown = useMemo(() => filled(seconds), [seconds, isDark.value]);
  if (!shown) return null;
  return html`<section class="card" aria-label="Rates">
    <div class="card-head"><h2>Events per second</h2></div>
    <div class="card-body">
      <${TimeChart} label="Events per second" ...${shown} isStepped format=${count} />
    </div>
  </section>`;
}

/** The seconds in a row, 0 if nothing happened. */
function filled(seconds) {
  if (seconds.length < 2) return null;
  const byTime = new Map(seconds.map(({ at, counts }) => [at, counts]));
  const first = Math.max(seconds[0].at, seconds[seconds.length - 1].at - 119);
  const times = Array.from({ length: seconds[seconds.length - 1].at - first + 1 }, (_, i) => first + i);
  const series = KINDS.map((kind, n) => ({
    name: `${kind}s`,
    colour: categoryColour(n),
    values: times.map((at) => byTime.get(at)?.[kind] ?? 0),
  }));
  return { times, series };
}
