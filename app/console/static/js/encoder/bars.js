// Bars of prices from a CSV file, read as the Python client's `read_bars` reads a data frame.

import { parseCsv } from "./csv.js";

const PRODUCT_NAMES = ["product", "product_id", "symbol", "ticker", "asset", "instrument", "code"];
const TIME_NAMES = ["timestamp", "datetime", "date", "time", "open_time", "close_time"];
const MILLISECONDS_FROM = 1e11;
const ISO = /^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/;

const plain = (name) => name.toLowerCase().replace(/[ _]/g, "");

/**
 * Return the bars of each product: `{product, times, close, high?, low?, volume?}`, by name. Times
 * are unix seconds, those without a zone UTC; a missing price is NaN. Throws Error with a sentence.
 */
export function readBars(text) {
  const [header, ...rows] = parseCsv(text);
  if (!header || !rows.length) throw new Error("The file has no rows: it needs a header and one row for each bar.");
  const find = (names) => header.findIndex((name) => names.includes(name.toLowerCase()));
  const time = find(TIME_NAMES);
  if (time < 0) throw new Error("There is no column for the time: name one date or timestamp.");
  const columns = new Map(header.map((name, i) => [plain(name), i]));
  if (!columns.has("close")) throw new Error(`There is no column close; there are ${header.join(", ")}.`);
  const product = find(PRODUCT_NAMES);
  const parts = new Map();
  for (const row of rows) {
    const name = product < 0 ? "" : row[product];
    if (!parts.has(name)) parts.set(name, []);
    parts.get(name).push(row);
  }
  const isNumeric = rows.every((row) => row[time] !== "" && Number.isFinite(Number(row[time])));
  const isMilliseconds = isNumeric && Math.max(...rows.map((row) => Math.abs(Number(row[time])))) > MILLISECONDS_FROM;
  const seconds = (value) => (isNumeric ? Number(value) / (isMilliseconds ? 1000 : 1) : timeOf(value));
  return [...parts.keys()].sort().map((name) => bars(name, parts.get(name), columns, (row) => seconds(row[time])));
}

function timeOf(value) {
  const found = ISO.exec(value);
  const at = found ? Date.parse(`${found[1]}T${found[2] ?? "00:00"}${found[3] ?? "Z"}`) : NaN;
  if (!Number.isFinite(at)) throw new Error(`The time ${value.slice(0, 40)} cannot be read: write it as 2020-03-01 or 2020-03-01T15:30Z.`);
  return at / 1000;
}

function bars(product, rows, columns, timeOfRow) {
  const times = rows.map(timeOfRow);
  const late = times.findIndex((at, i) => i > 0 && at <= times[i - 1]);
  if (late > 0) {
    const when = new Date(times[late] * 1000).toISOString();
    throw new Error(`${product || "The bars"}: ${when} is not after the bar before. Sort them.`);
  }
  const read = (name) => {
    const i = columns.get(name);
    return i === undefined ? null : rows.map((row) => numberOf(row[i], name));
  };
  const close = read("close");
  const adjusted = read("adjclose");
  const ratio = adjusted?.map((value, i) => value / close[i]);
  const price = (values) =>
    values && Float64Array.from(values, (value, i) => positive(ratio ? value * ratio[i] : value));
  const found = { product, times, close: price(close), high: price(read("high")), low: price(read("low")) };
  const volume = read("volume");
  if (found.high && found.low) {
    // A bar whose high is below its low is no bar: its close cannot be trusted either.
    found.high.forEach((high, i) => {
      if (high < found.low[i]) found.close[i] = NaN;
    });
  }
  return { ...found, volume: volume && Float64Array.from(volume) };
}

const positive = (value) => (value > 0 ? value : NaN);

const MISSING = new Set(["", "nan", "null", "none", "na", "n/a", "#n/a"]);

function numberOf(text, name) {
  if (text === undefined || MISSING.has(text.toLowerCase())) return NaN;
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`Column ${name} must hold numbers, got ${text.slice(0, 40)}.`);
  return value;
}
