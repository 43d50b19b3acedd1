// Lines over time, by uPlot.

import { html, useEffect, useRef } from "../../vendor/ui.js";
import uPlot from "../../vendor/uplot.js";
import { date, signed } from "../core/format.js";
import { isDark, zone } from "../core/preferences.js";

const HEIGHT = 220;
/** Steps between ticks of counts. */
const WHOLE = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();
const [DAY_S, YEAR_S] = [86400, 365 * 86400];
/** Ticks from this step on, the form of most of them, and of those at which a year or a day begins. */
const TICKS = [
  [YEAR_S, "{YYYY}", null, null],
  [28 * DAY_S, "{YYYY}-{MM}", null, null],
  [DAY_S, "{MM}-{DD}", "\n{YYYY}", null],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", "\n{YYYY}-{MM}-{DD}"],
  [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", "\n{YYYY}-{MM}-{DD}"],
  [0.001, ":{ss}.{fff}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}"],
].map(([step, form, year, day]) => [step, form, year, null, day, null, null, null, 1]);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * `series`: `{name, colour, values}`, a value for each of `times` (unix seconds), null for a gap.
 * `label` says what is shown to those who do not see it; the latest values stand in the legend.
 */
export function TimeChart({ label, times, series, unit, format = (value) => signed(value, 3), isStepped = false }) {
  const frame = useRef(null);
  useEffect(() => {
    const [ink, line] = [colour("--ink-soft"), colour("--line")];
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px sans-serif" };
    const plot = new uPlot(
      {
        width: frame.current.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        tzDate: zone.value === "utc" ? (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC") : undefined,
        series: [{}, ...series.map(({ name, colour: stroke }) => ({
          label: name, stroke, width: 2, spanGaps: false, points: { show: times.length < 40, size: 5 },
          paths: isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        }))],
        axes: [{ ...axis, values: TICKS }, { ...axis, size: 62, incrs: isStepped ? WHOLE : undefined, values: (_, ticks) => ticks.map(format) }],
        scales: { y: { range: (_, low, high) => rangeOf(low, high) } },
      },
      [times, ...series.map(({ values }) => values)],
      frame.current,
    );
    const resized = new ResizeObserver(([entry]) => plot.setSize({ width: entry.contentRect.width, height: HEIGHT }));
    resized.observe(frame.current);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [times, series, isDark.value, zone.value]);
  const spoken = times.length
    ? `${label}, ${date(times[0])} to ${date(times[times.length - 1])}`
    : label;
  return html`<figure class="time-chart">
    <div ref=${frame} role="img" aria-label=${spoken}></div>
    <figcaption class="legend">
      ${series.map(
        ({ name, colour: background, values }) => html`<span key=${name}>
          <span class="swatch" style=${{ background }}></span>${name} ${format(values[values.length - 1])}
        </span>`,
      )}
      ${unit && html`<span>in ${unit}</span>`}
    </figcaption>
  </figure>`;
}

function rangeOf(low, high) {
  const [from, to] = [Math.min(0, low ?? 0), Math.max(0, high ?? 1)];
  const room = (to - from || 1) * 0.06;
  return [from < 0 ? from - room : from, to + room];
}
