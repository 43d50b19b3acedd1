/** A state: a Float32Array, or any numbers. */
export type Vector = Float32Array | readonly number[];

const CHUNK = 8192;

/** Return base64 of the numbers as little-endian float32, the form that the service reads fastest.
 *
 * Throws RangeError for a number that is not finite. */
export function encodeVector(vector: Vector, name = "state"): string {
  const numbers = vector instanceof Float32Array ? vector : Float32Array.from(vector);
  const wrong = numbers.findIndex((number) => !Number.isFinite(number));
  if (wrong >= 0) throw new RangeError(`${name}[${wrong}] is ${numbers[wrong]}: all numbers must be finite`);
  const bytes = new Uint8Array(numbers.length * 4);
  const view = new DataView(bytes.buffer);
  numbers.forEach((number, position) => view.setFloat32(position * 4, number, true));
  let text = "";
  for (let start = 0; start < bytes.length; start += CHUNK) {
    text += String.fromCharCode(...bytes.subarray(start, start + CHUNK));
  }
  return btoa(text);
}

/** Return the numbers of a vector in base64 of little-endian float32. */
export function decodeVector(text: string): Float32Array {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, position) => view.getFloat32(position * 4, true));
}
