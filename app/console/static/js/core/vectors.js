// Vectors as the API takes them: numbers, or base64 of little-endian float32.

/** Return the vector as base64 of float32. */
export function toBase64(vector) {
  const raw = new Uint8Array(Float32Array.from(vector).buffer);
  let text = "";
  for (const byte of raw) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Return the numbers in base64 of float32. Throws Error if it is not base64 of float32. */
export function fromBase64(text) {
  let raw;
  try {
    raw = atob(text);
  } catch {
    throw new Error("This is neither a list of numbers nor base64.");
  }
  if (raw.length % 4) throw new Error("The base64 does not hold whole float32 numbers.");
  const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
  return Array.from(new Float32Array(bytes.buffer));
}

/**
 * Read what a visitor pasted: JSON, numbers between commas or spaces, or base64.
 * Returns finite numbers, as many as `dimension`. Throws Error with a sentence that says what to do.
 */
export function readVector(text, dimension) {
  const pasted = text.trim();
  if (!pasted) throw new Error("Paste a vector first.");
  const words = pasted.replace(/^\[|\]$/g, "").split(/[\s,;]+/).filter(Boolean);
  const isBase64 = words.length === 1 && !Number.isFinite(Number(words[0]));
  const vector = isBase64 ? fromBase64(words[0]) : words.map(Number);
  const wrong = vector.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) {
    const shown = isBase64 ? String(vector[wrong]) : words[wrong].slice(0, 20);
    throw new Error(`Number ${wrong + 1} is not finite: ${shown}.`);
  }
  if (vector.length !== dimension) {
    throw new Error(`The service takes ${dimension} numbers, this has ${vector.length}.`);
  }
  if (vector.every((value) => value === 0)) throw new Error("All numbers are 0: it has no direction.");
  return vector;
}
