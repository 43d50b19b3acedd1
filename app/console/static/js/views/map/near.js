// Which point is nearest to a place, by a grid over the data.

const CELLS = 128;

export class Grid {
  constructor({ x, y }) {
    this.x = x;
    this.y = y;
    this.lowX = x.reduce((a, b) => Math.min(a, b), Infinity);
    this.lowY = y.reduce((a, b) => Math.min(a, b), Infinity);
    const highX = x.reduce((a, b) => Math.max(a, b), -Infinity);
    const highY = y.reduce((a, b) => Math.max(a, b), -Infinity);
    this.step = Math.max(highX - this.lowX, highY - this.lowY) / CELLS || 1;
    const counts = new Uint32Array(CELLS * CELLS + 1);
    const cellOf = Uint32Array.from(x, (_, i) => this.#cell(x[i], y[i]));
    for (const cell of cellOf) counts[cell + 1] += 1;
    for (let cell = 0; cell < CELLS * CELLS; cell += 1) counts[cell + 1] += counts[cell];
    this.starts = counts.slice();
    this.rows = new Uint32Array(x.length);
    cellOf.forEach((cell, i) => {
      this.rows[counts[cell]] = i;
      counts[cell] += 1;
    });
  }

  #place(value, low) {
    return Math.min(CELLS - 1, Math.max(0, Math.floor((value - low) / this.step)));
  }

  #cell(x, y) {
    return this.#place(y, this.lowY) * CELLS + this.#place(x, this.lowX);
  }

  /** The shown point nearest to (x, y) and not farther than `reach`; -1 if none is. */
  nearest(x, y, reach, isShown) {
    let best = -1;
    let bestSquare = reach * reach;
    const [fromX, toX] = [this.#place(x - reach, this.lowX), this.#place(x + reach, this.lowX)];
    const [fromY, toY] = [this.#place(y - reach, this.lowY), this.#place(y + reach, this.lowY)];
    for (let row = fromY; row <= toY; row += 1) {
      const [start, end] = [this.starts[row * CELLS + fromX], this.starts[row * CELLS + toX + 1]];
      for (let n = start; n < end; n += 1) {
        const i = this.rows[n];
        const square = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
        if (square <= bestSquare && isShown[i]) [best, bestSquare] = [i, square];
      }
    }
    return best;
  }
}
