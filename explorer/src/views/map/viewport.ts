import type { PlaneIndex } from '../../model/plane-index.js';

/** What part of a plane is looked at. */
export interface Viewport {
  /** 1 shows all points. */
  readonly zoom: number;
  /** Place of the plane in the middle. */
  readonly x: number;
  readonly y: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Room around the points, in pixels of the page. */
const MARGIN = 28;
export const LARGEST_ZOOM = 64;
const LEAST_ZOOM = 0.5;

export function wholeOf({ minimum, maximum }: PlaneIndex): Viewport {
  return { zoom: 1, x: (minimum[0] + maximum[0]) / 2, y: (minimum[1] + maximum[1]) / 2 };
}

/** Between a plane, whose y grows upwards, and pixels of the page. */
export class View {
  readonly viewport: Viewport;
  readonly size: Size;
  /** Pixels a unit of the plane. */
  readonly scale: number;

  constructor(viewport: Viewport, size: Size, { minimum, maximum }: PlaneIndex) {
    this.viewport = viewport;
    this.size = size;
    const fit = Math.min(
      Math.max(1, size.width - 2 * MARGIN) / Math.max(maximum[0] - minimum[0], 1e-9),
      Math.max(1, size.height - 2 * MARGIN) / Math.max(maximum[1] - minimum[1], 1e-9),
    );
    this.scale = fit * viewport.zoom;
  }

  toPage(x: number, y: number): [number, number] {
    return [
      this.size.width / 2 + (x - this.viewport.x) * this.scale,
      this.size.height / 2 - (y - this.viewport.y) * this.scale,
    ];
  }

  toPlane(left: number, top: number): [number, number] {
    return [
      this.viewport.x + (left - this.size.width / 2) / this.scale,
      this.viewport.y - (top - this.size.height / 2) / this.scale,
    ];
  }

  /** Moved by pixels of the page. */
  panned(right: number, down: number): Viewport {
    const { zoom, x, y } = this.viewport;
    return { zoom, x: x - right / this.scale, y: y + down / this.scale };
  }

  /** Larger by a factor, with one place of the page where it is. */
  zoomed(factor: number, left = this.size.width / 2, top = this.size.height / 2): Viewport {
    const zoom = Math.max(LEAST_ZOOM, Math.min(LARGEST_ZOOM, this.viewport.zoom * factor));
    const [x, y] = this.toPlane(left, top);
    const kept = this.viewport.zoom / zoom;
    return { zoom, x: x + (this.viewport.x - x) * kept, y: y + (this.viewport.y - y) * kept };
  }
}
