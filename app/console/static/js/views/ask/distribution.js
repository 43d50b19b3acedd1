// How the rewards of the moments found are spread, by action.

import { html } from "../../../vendor/ui.js";
import { coloursOf } from "../../core/colours.js";
import { plural, signed } from "../../core/format.js";
import { edges, histogram, quantile } from "../../core/statistics.js";
import { Empty } from "../../parts/notice.js";

const WIDTH = 560;
const HEIGHT = 190;
const FOOT = 22;
const TOP = 18;
const BINS = 18;

export function Distribution({ memories, actual }) {
  const closed = memories.filter(({ reward }) => reward !== null);
  return html`<section class="card" aria-label="What came after">
    <div class="card-head">
      <h2>What came after</h2>
      <span class="small">rewards of the ${plural(closed.length, "nearest moment")} with an outcome</span>
    </div>
    ${closed.length === 0
      ? html`<${Empty} title="No outcome is known"><p>All moments found are open. Their outcomes are stored with <code>POST …/outcome</code>.</p><//>`
      : html`<div class="card-body stack"><${Bars} memories=${closed} actual=${actual} /></div>`}
  </section>`;
}

function Bars({ memories, actual }) {
  const rewards = memories.map(({ reward }) => reward);
  const names = [...new Set(memories.map(({ action }) => action ?? "no action"))].sort();
  const colours = coloursOf(names);
  const between = edges(actual === null ? rewards : [...rewards, actual], BINS);
  const stacks = names.map((name) =>
    histogram(memories.filter(({ action }) => (action ?? "no action") === name).map((m) => m.reward), between),
  );
  const totals = histogram(rewards, between);
  const tallest = Math.max(...totals);
  const low = between[0];
  const high = between[between.length - 1];
  const x = (value) => ((value - low) / (high - low)) * WIDTH;
  const y = (n) => (n / tallest) * (HEIGHT - FOOT - TOP);
  const [q05, q50, q95] = [0.05, 0.5, 0.95].map((q) => quantile(rewards, q));
  const decimals = Math.abs(between[1] - between[0]) < 0.01 ? 3 : 2;
  const text = `Histogram of ${rewards.length} rewards: 5 % ${signed(q05)}, median ${signed(q50)}, 95 % ${signed(q95)}`;
  const below = totals.map(() => 0);
  return html`
    <svg class="chart" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${text}>
      ${names.map((name, n) =>
        stacks[n].map((held, bin) => {
          if (!held) return null;
          below[bin] += held;
          const left = x(between[bin]);
          return html`<rect key=${`${name}-${bin}`} x=${left + 1} width=${x(between[bin + 1]) - left - 2}
            y=${HEIGHT - FOOT - y(below[bin])} height=${y(held)} fill=${colours.get(name)} />`;
        }),
      )}
      <line class="chart-axis" x1="0" x2=${WIDTH} y1=${HEIGHT - FOOT} y2=${HEIGHT - FOOT} />
      <line class="chart-zero" x1=${x(0)} x2=${x(0)} y1=${TOP} y2=${HEIGHT - FOOT} />
      ${actual !== null && html`<line class="chart-actual" x1=${x(actual)} x2=${x(actual)} y1=${TOP - 4}
        y2=${HEIGHT - FOOT} />
        <text class="chart-label strong" x=${within(x(actual))} y="10" text-anchor="middle">actual ${signed(actual, decimals)}</text>`}
      ${ticks(between).map((tick) => html`<text key=${tick} class="chart-label" x=${within(x(tick), 24)}
        y=${HEIGHT - 6} text-anchor="middle">${signed(tick, decimals)}</text>`)}
    </svg>
    <div class="legend">
      ${names.map((name) => html`<span key=${name}><span class="swatch"
        style=${{ background: colours.get(name) }}></span>${name}</span>`)}
      <span>5 % ${signed(q05)}</span><span>median ${signed(q50)}</span><span>95 % ${signed(q95)}</span>
    </div>`;
}

const within = (x, room = 50) => Math.min(WIDTH - room, Math.max(room, x));

/** About five evenly spaced edges, 0 among them if it is within the range. */
function ticks(between) {
  const step = Math.max(1, Math.ceil(between.length / 6));
  const zero = between.findIndex((edge) => Math.abs(edge) < 1e-12);
  const start = zero < 0 ? 0 : zero % step;
  return between.filter((_, i) => (i - start) % step === 0);
}
