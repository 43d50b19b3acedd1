// The little arithmetic that the console does itself.

/** Edges of about `bins` equal steps from the smallest to the largest value, on round numbers. */
export function edges(values, bins) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = least === most ? Math.abs(least) / 2 || 1 : 0; // one value is a step among others
  const [low, high] = [least - room, most + room];
  const rough = (high - low) / bins;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.floor(high / step) + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/** How many of the values fall between the edges; the last edge belongs to the last step. */
export function histogram(values, between) {
  const counts = new Array(between.length - 1).fill(0);
  const step = between[1] - between[0];
  for (const value of values) {
    const bin = Math.floor((value - between[0]) / step + 1e-9);
    counts[Math.min(Math.max(bin, 0), counts.length - 1)] += 1;
  }
  return counts;
}

/** The q-quantile by linear interpolation; null without values. */
export function quantile(values, q) {
  if (!values.length) return null;
  const ordered = [...values].sort((a, b) => a - b);
  const at = (ordered.length - 1) * q;
  const below = Math.floor(at);
  const above = Math.min(below + 1, ordered.length - 1);
  return ordered[below] + (ordered[above] - ordered[below]) * (at - below);
}

/** The mean; null without values. */
export function mean(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
