// The lasso: a polygon in the map's own coordinates, short enough for a link.

const CORNERS = 48;

/** The shown points inside the polygon, by the even-odd rule. */
export function within({ x, y }, polygon, isShown) {
  const [xs, ys] = [polygon.map(([px]) => px), polygon.map(([, py]) => py)];
  const [lowX, highX, lowY, highY] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const rows = [];
  for (let i = 0; i < x.length; i += 1) {
    if (!isShown[i] || x[i] < lowX || x[i] > highX || y[i] < lowY || y[i] > highY) continue;
    if (isInside(x[i], y[i], polygon)) rows.push(i);
  }
  return rows;
}

function isInside(x, y, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** As part of a link; at most 48 corners of it. */
export function writePolygon(polygon) {
  const step = Math.max(1, Math.ceil(polygon.length / CORNERS));
  const kept = polygon.filter((_, i) => i % step === 0);
  return kept.map(([x, y]) => `${x.toPrecision(4)},${y.toPrecision(4)}`).join(" ");
}

/** Read what stands in a link; null for none, or one that is no polygon. */
export function readPolygon(text) {
  if (!text) return null;
  const polygon = text.split(" ").map((corner) => corner.split(",").map(Number));
  const isWhole = polygon.every((corner) => corner.length === 2 && corner.every(Number.isFinite));
  return isWhole && polygon.length >= 3 ? polygon : null;
}
