// States from prices: the Python client's `StateEncoder(window=64, dimension=256)`, number by number.
//
// What the numbers mean is explained in its module `coinswarm_memory.market.features`. A test encodes the
// same bars with both and compares the bytes. Not here: other windows and dimensions, since the
// means and deviations of its random walks come as a file (reference.json).

export const VERSION = 1;
export const WINDOW = 64;
export const DIMENSION = 256;
const MAX_GAP_BARS = 5;
const POINTS = DIMENSION / 4;
const SHORT = Math.max(Math.floor(WINDOW / 12), 5);
const LIMIT = 4;
const STEPS = 1024;
const STILL = 1e-12;

/**
 * Return a state for each bar that has a whole window behind it: `{states, times, findings, barS}`.
 * `reference`: what reference.json holds. Throws Error if there is no whole window.
 */
export function encode(bars, reference) {
  const hasRange = Boolean(bars.high && bars.low);
  const hasVolume = Boolean(bars.volume);
  const { mean, deviation } = reference[`${hasRange ? "range" : "close"}${hasVolume ? "-volume" : ""}`];
  const barS = median(steps(bars.times));
  const between = usable(bars, MAX_GAP_BARS * barS, hasRange);
  const states = [];
  const times = [];
  let still = 0;
  for (let end = WINDOW; end < bars.times.length; end += 1) {
    if (!between.slice(end - WINDOW, end).every(Boolean)) continue;
    const state = scaled(features(bars, end, hasRange, hasVolume), mean, deviation);
    if (state.every(Number.isFinite) && state.some((value) => value !== 0)) {
      states.push(Float32Array.from(state));
      times.push(bars.times[end]);
    } else still += 1;
  }
  if (!states.length) {
    throw new Error(`${bars.product || "The file"} has no ${WINDOW + 1} bars in a row without a gap: give more bars.`);
  }
  return { states, times, barS, findings: findings(bars, between, still) };
}

function scaled(raw, mean, deviation) {
  return raw.map((value, i) => {
    const cut = Math.min(LIMIT, Math.max(-LIMIT, (value - mean[i]) / deviation[i]));
    return roundHalfEven(cut * STEPS) / STEPS + 0;
  });
}

/** Round as numpy does: a half goes to the even neighbour. */
function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

function features(bars, end, hasRange, hasVolume) {
  const path = Array.from(bars.close.subarray(end - WINDOW, end + 1), Math.log);
  const returns = steps(path);
  const spread = deviationOf(returns);
  const volatility = spread < STILL ? NaN : spread;
  return [
    ...latest(POINTS).map((i) => returns[i] / volatility),
    ...momentum(path).map((value) => value / volatility),
    ...unrest(bars, end, hasRange, returns, volatility),
    ...endBlocks(bars, end, hasVolume, path, volatility),
  ];
}

function momentum(path) {
  const shortest = Math.max(roundHalfEven(WINDOW / POINTS), 1);
  return spaced(shortest, WINDOW, POINTS).map((span) => (path[WINDOW] - path[WINDOW - span]) / Math.sqrt(span));
}

function unrest(bars, end, hasRange, returns, volatility) {
  const moves = hasRange
    ? Array.from({ length: WINDOW }, (_, i) => Math.log(bars.high[end - WINDOW + 1 + i] / bars.low[end - WINDOW + 1 + i]) ** 2)
    : returns.map((value) => value ** 2);
  const root = Math.sqrt(meanOf(moves));
  const whole = root > STILL ? root : volatility;
  return spaced(0, WINDOW - SHORT, POINTS).map((start) =>
    Math.log(Math.max(Math.sqrt(meanOf(moves.slice(start, start + SHORT))) / whole, 1e-2)),
  );
}

function endBlocks(bars, end, hasVolume, path, volatility) {
  const points = hasVolume ? POINTS / 2 : POINTS;
  let high = -Infinity;
  const below = path.map((level) => {
    high = Math.max(high, level);
    return level - high;
  });
  const first = Math.max(roundHalfEven(WINDOW / POINTS), 1);
  const drawdown = spaced(first, WINDOW, points).map((i) => below[i] / (volatility * Math.sqrt(WINDOW)));
  if (!hasVolume) return drawdown;
  const volumes = Array.from(bars.volume.subarray(end - WINDOW + 1, end + 1));
  const mean = meanOf(volumes);
  const usual = mean <= 0 ? NaN : mean;
  return [...drawdown, ...latest(POINTS - points).map((i) => Math.log1p(volumes[i] / usual))];
}

/** Which returns of a window the latest `points` are. */
function latest(points) {
  return spaced(Math.max(WINDOW - points, 0), WINDOW - 1, points);
}

/** Whole numbers that lie evenly from one to another, as numpy's linspace and round give them. */
function spaced(from, to, points) {
  const step = (to - from) / (points - 1);
  return Array.from({ length: points }, (_, i) => (i === points - 1 ? to : roundHalfEven(i * step + from)));
}

function steps(values) {
  return Array.from({ length: values.length - 1 }, (_, i) => values[i + 1] - values[i]);
}

function meanOf(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function deviationOf(values) {
  const mean = meanOf(values);
  return Math.sqrt(meanOf(values.map((value) => (value - mean) ** 2)));
}

function median(values) {
  if (!values.length) throw new Error("There are too few bars to tell the time between them.");
  const ordered = [...values].sort((a, b) => a - b);
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}

/** Whether each step from a bar to the next may be part of a state. */
function usable(bars, longestGapS, hasRange) {
  const isThere = bars.times.map(
    (_, i) =>
      Number.isFinite(bars.close[i]) &&
      (!hasRange || (Number.isFinite(bars.high[i]) && Number.isFinite(bars.low[i]))) &&
      (!bars.volume || Number.isFinite(bars.volume[i])),
  );
  return steps(bars.times).map((gap, i) => gap <= longestGapS && isThere[i] && isThere[i + 1]);
}

/** What is wrong with the bars, in sentences. It is reported, never repaired. */
function findings(bars, between, still) {
  const missing = bars.close.filter((value) => !Number.isFinite(value)).length;
  const gaps = between.filter(
    (isUsable, i) => !isUsable && Number.isFinite(bars.close[i]) && Number.isFinite(bars.close[i + 1]),
  ).length;
  const idle = bars.volume?.filter((value) => value === 0).length ?? 0;
  return [
    missing && `${missing} bars without a price: no state is made of them.`,
    gaps && `${gaps} gaps between bars: no state goes across one.`,
    idle && `${idle} bars without volume: used as they are.`,
    still && `${still} windows in which nothing moves: they have no state.`,
  ].filter(Boolean);
}
