export interface Near {
  readonly point: number;
  readonly distance: number;
}

/** Points a cell on average: few enough to look through, many enough that most cells have some. */
const POINTS_IN_CELL = 4;

/** Points on a plane in cells of a grid, so that the nearest are found without looking at all. */
export class PlaneIndex {
  readonly #places: Float32Array;
  readonly #columns: number;
  readonly #rows: number;
  readonly #side: number;
  /** Points of each cell one after the other, and where each cell begins. */
  readonly #members: Uint32Array;
  readonly #starts: Uint32Array;
  readonly minimum: readonly [number, number];
  readonly maximum: readonly [number, number];

  /** @param places x and y of each point in turn */
  constructor(places: Float32Array) {
    const count = places.length / 2;
    let [left, bottom, right, top] = [
      Number.POSITIVE_INFINITY,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ];
    for (let i = 0; i < count; i++) {
      const [x, y] = [places[2 * i] ?? 0, places[2 * i + 1] ?? 0];
      left = Math.min(left, x);
      right = Math.max(right, x);
      bottom = Math.min(bottom, y);
      top = Math.max(top, y);
    }
    if (count === 0) [left, bottom, right, top] = [0, 0, 1, 1];
    this.minimum = [left, bottom];
    this.maximum = [right, top];
    this.#places = places;
    const [width, height] = [Math.max(right - left, 1e-9), Math.max(top - bottom, 1e-9)];
    const cells = Math.max(1, count / POINTS_IN_CELL);
    this.#side = Math.max(Math.sqrt((width * height) / cells), Math.max(width, height) / 1000);
    this.#columns = Math.floor(width / this.#side) + 1;
    this.#rows = Math.floor(height / this.#side) + 1;
    this.#starts = new Uint32Array(this.#columns * this.#rows + 1);
    const cellOf = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const cell = this.#row(places[2 * i + 1] ?? 0) * this.#columns + this.#column(places[2 * i] ?? 0);
      cellOf[i] = cell;
      this.#starts[cell + 1] = (this.#starts[cell + 1] ?? 0) + 1;
    }
    for (let cell = 1; cell < this.#starts.length; cell++) {
      this.#starts[cell] = (this.#starts[cell] ?? 0) + (this.#starts[cell - 1] ?? 0);
    }
    const next = this.#starts.slice();
    this.#members = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const cell = cellOf[i] ?? 0;
      this.#members[next[cell] ?? 0] = i;
      next[cell] = (next[cell] ?? 0) + 1;
    }
  }

  #column(x: number): number {
    return Math.max(0, Math.min(this.#columns - 1, Math.floor((x - this.minimum[0]) / this.#side)));
  }

  #row(y: number): number {
    return Math.max(0, Math.min(this.#rows - 1, Math.floor((y - this.minimum[1]) / this.#side)));
  }

  /**
   * The nearest points, nearest first.
   * @param isWanted points that it is asked of are left out where it says no
   */
  nearest(x: number, y: number, count: number, isWanted: (point: number) => boolean = () => true): Near[] {
    const found: Near[] = [];
    const [column, row] = [this.#column(x), this.#row(y)];
    const rings = Math.max(this.#columns, this.#rows);
    for (let ring = 0; ring <= rings; ring++) {
      // Whatever lies in this ring is at least so far away.
      const least = this.#distanceToRing(x, y, column, row, ring);
      if (found.length === count && least > (found.at(-1)?.distance ?? 0)) break;
      for (const cell of this.#ring(column, row, ring)) {
        for (let at = this.#starts[cell] ?? 0; at < (this.#starts[cell + 1] ?? 0); at++) {
          const point = this.#members[at] ?? 0;
          if (!isWanted(point)) continue;
          const distance = Math.hypot((this.#places[2 * point] ?? 0) - x, (this.#places[2 * point + 1] ?? 0) - y);
          if (found.length === count && distance >= (found.at(-1)?.distance ?? 0)) continue;
          const place = found.findIndex((other) => other.distance > distance);
          found.splice(place === -1 ? found.length : place, 0, { point, distance });
          if (found.length > count) found.pop();
        }
      }
    }
    return found;
  }

  #distanceToRing(x: number, y: number, column: number, row: number, ring: number): number {
    if (ring === 0) return 0;
    const left = this.minimum[0] + (column - ring + 1) * this.#side;
    const right = this.minimum[0] + (column + ring) * this.#side;
    const bottom = this.minimum[1] + (row - ring + 1) * this.#side;
    const top = this.minimum[1] + (row + ring) * this.#side;
    return Math.max(0, Math.min(x - left, right - x, y - bottom, top - y));
  }

  *#ring(column: number, row: number, ring: number): Generator<number> {
    for (let r = Math.max(0, row - ring); r <= Math.min(this.#rows - 1, row + ring); r++) {
      const isEdge = Math.abs(r - row) === ring;
      for (let c = column - ring; c <= column + ring; c += isEdge || ring === 0 ? 1 : 2 * ring) {
        if (c >= 0 && c < this.#columns) yield r * this.#columns + c;
      }
    }
  }
}
