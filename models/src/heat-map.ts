/** Inferno of matplotlib (van der Walt & Smith, CC0), every 32nd colour: perceptually uniform, readable in grey. */
const INFERNO = [
  [0, 0, 4],
  [31, 12, 72],
  [85, 15, 109],
  [136, 34, 106],
  [186, 54, 85],
  [227, 89, 51],
  [249, 140, 10],
  [249, 201, 50],
  [252, 255, 164],
] as const;

/** How opaque an error of so many nats is, from 0 to 1: the same scale for every picture, so that pictures compare. */
export function heatOpacity(nats: number): number {
  return 1 - Math.exp(-nats);
}

/**
 * A pixel in grey with an error over it, more opaque and brighter the larger it is.
 * @param grey from 0 to 255
 * @param opacity of `heatOpacity`
 * @param channel 0, 1, 2: red, green, blue
 * @returns a whole number from 0 to 255
 */
export function heatOver(grey: number, opacity: number, channel: number): number {
  return Math.round(grey * (1 - opacity) + inferno(opacity, channel) * opacity);
}

function inferno(position: number, channel: number): number {
  const scaled = position * (INFERNO.length - 1);
  const index = Math.min(INFERNO.length - 2, Math.floor(scaled));
  const below = INFERNO[index]?.[channel] ?? 0;
  const above = INFERNO[index + 1]?.[channel] ?? 0;
  return below + (above - below) * (scaled - index);
}
