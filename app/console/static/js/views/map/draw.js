// Points drawn into the pixels of a canvas.
//
// A hundred thousand points are a million pixels to write: some milliseconds on one core. So there is
// one way to draw, with and without a graphics card.

const FADED = 0x30;

/** Where the data lies on the canvas: `x * scale + left`, `top - y * scale`. */
export function fitted(columns, width, height) {
  const [x, y] = [range(columns.x), range(columns.y)];
  const room = 0.92;
  const scale = room * Math.min(width / (x.high - x.low || 1), height / (y.high - y.low || 1));
  return {
    scale,
    left: width / 2 - ((x.low + x.high) / 2) * scale,
    top: height / 2 + ((y.low + y.high) / 2) * scale,
  };
}

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

export class Painter {
  constructor(canvas) {
    this.context = canvas.getContext("2d", { willReadFrequently: false });
    this.image = null;
  }

  /** Draw the shown points; those that are not `selected` (null: all are) are faded. */
  draw({ columns, pixels, isShown, view, selected, size }) {
    const { width, height } = this.context.canvas;
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.buffer = new Uint32Array(this.image.data.buffer);
    }
    this.buffer.fill(0);
    if (selected) {
      this.#points(columns, pixels, isShown, view, size, null, 0xffffff | (FADED << 24));
      this.#points(columns, pixels, isShown, view, size + 1, selected, -1);
    } else {
      this.#points(columns, pixels, isShown, view, size, null, -1);
    }
    this.context.putImageData(this.image, 0, 0);
  }

  #points({ x, y }, pixels, isShown, { scale, left, top }, size, rows, mask) {
    const { width, height } = this.context.canvas;
    const { buffer } = this;
    const half = size >> 1;
    const isRound = size > 3;
    const length = rows ? rows.length : x.length;
    for (let n = 0; n < length; n += 1) {
      const i = rows ? rows[n] : n;
      if (!isShown[i]) continue;
      const column = Math.round(x[i] * scale + left) - half;
      const row = Math.round(top - y[i] * scale) - half;
      if (column < 0 || row < 0 || column + size > width || row + size > height) continue;
      const colour = pixels[i] & mask;
      for (let dy = 0; dy < size; dy += 1) {
        const edge = isRound && (dy === 0 || dy === size - 1) ? 1 : 0;
        const start = (row + dy) * width + column + edge;
        buffer.fill(colour, start, start + size - 2 * edge);
      }
    }
  }
}
