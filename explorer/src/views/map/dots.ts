import type { Rgb } from './palette.js';

/** Which points are drawn where, and how. */
export interface Scene {
  /** x and y of each point in turn, in the plane. */
  readonly places: Float32Array;
  /** Index of each point's colour; 255 hides it. */
  readonly colourOf: Uint8Array;
  readonly colours: readonly Rgb[];
  readonly background: Rgb;
  /** Of a dot, in pixels of the canvas. */
  readonly radius: number;
}

export const HIDDEN = 255;

/** How far, and how strongly, the background shows around a dot, so that dots on each other stay apart. */
const RING = 0.8;
const RING_STRENGTH = 0.65;

/**
 * Draws dots into the pixels of a canvas. Without a GPU (remote desktops, virtual machines, headless browsers) this is what
 * is left of speed: 10,000 dots take WebGL in software and `drawImage` several times as long; with one, it is fast enough.
 */
export class DotPainter {
  readonly #context: CanvasRenderingContext2D;
  #image: ImageData | undefined;
  #pixels = new Uint32Array();
  #stamp: Stamp | undefined;

  constructor(context: CanvasRenderingContext2D) {
    this.#context = context;
  }

  /**
   * @param left pixel of the canvas where the plane's x is 0; `top` likewise
   * @param scale pixels of the canvas a unit of the plane
   */
  draw({ places, colourOf, colours, background, radius }: Scene, left: number, top: number, scale: number): void {
    const { width, height } = this.#context.canvas;
    if (width === 0 || height === 0) return;
    if (this.#image?.width !== width || this.#image.height !== height) {
      this.#image = this.#context.createImageData(width, height);
      this.#pixels = new Uint32Array(this.#image.data.buffer);
    }
    if (this.#stamp?.radius !== radius || this.#stamp.width !== width) this.#stamp = stampOf(radius, width);
    const { reach, core, edge, edgeRing, edgeFill } = this.#stamp;
    const pixels = this.#pixels;
    pixels.fill(packed(background));
    const [backRed, backGreen, backBlue] = background;
    const solid = colours.map(packed);
    const count = colourOf.length;
    for (let point = 0; point < count; point++) {
      const colour = colourOf[point] as number;
      if (colour === HIDDEN) continue;
      const x = Math.round(left + (places[2 * point] as number) * scale);
      const y = Math.round(top - (places[2 * point + 1] as number) * scale);
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      const centre = y * width + x;
      const value = solid[colour] as number;
      for (let i = 0; i < core.length; i++) pixels[centre + (core[i] as number)] = value;
      const [red, green, blue] = colours[colour] as Rgb;
      for (let i = 0; i < edge.length; i++) {
        const at = centre + (edge[i] as number);
        const below = pixels[at] as number;
        const ring = edgeRing[i] as number;
        const fill = edgeFill[i] as number;
        const kept = (256 - ring) * (256 - fill);
        const back = ring * (256 - fill);
        const r = ((below & 255) * kept + backRed * back + red * fill * 256) >> 16;
        const g = (((below >> 8) & 255) * kept + backGreen * back + green * fill * 256) >> 16;
        const b = (((below >> 16) & 255) * kept + backBlue * back + blue * fill * 256) >> 16;
        pixels[at] = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
      }
    }
    this.#context.putImageData(this.#image, 0, 0);
  }
}

/** A dot's pixels as distances from its centre in memory: those it covers, and those on its edge with their shares of 256. */
interface Stamp {
  readonly radius: number;
  readonly width: number;
  readonly reach: number;
  readonly core: Int32Array;
  readonly edge: Int32Array;
  readonly edgeRing: Uint16Array;
  readonly edgeFill: Uint16Array;
}

function stampOf(radius: number, width: number): Stamp {
  const reach = Math.ceil(radius + RING + 0.5);
  const core: number[] = [];
  const edge: { at: number; ring: number; fill: number }[] = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const covered = (limit: number) => Math.max(0, Math.min(1, limit + 0.5 - Math.hypot(x, y)));
      const fill = Math.round(256 * covered(radius));
      const ring = Math.round(256 * RING_STRENGTH * covered(radius + RING));
      const at = y * width + x;
      if (fill === 256) core.push(at);
      else if (ring > 0) edge.push({ at, ring, fill });
    }
  }
  return {
    radius,
    width,
    reach,
    core: Int32Array.from(core),
    edge: Int32Array.from(edge, ({ at }) => at),
    edgeRing: Uint16Array.from(edge, ({ ring }) => ring),
    edgeFill: Uint16Array.from(edge, ({ fill }) => fill),
  };
}

/** As a little-endian pixel holds it. */
function packed([red, green, blue]: Rgb): number {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}
