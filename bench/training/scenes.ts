import { RandomSource } from '@elbo/models';
import { type Examples, inMemory } from '@elbo/training/data/dataset';

const SIDE = 64;
const CHANNELS = 3;

/**
 * Colour images of 64 x 64 pixels with something to learn: a ball and a box of random colour and place before a sky that
 * shades into a ground. The same seed gives the same bytes.
 * @returns [count, 3, 64, 64]
 */
export function drawScenes(count: number, seed: number): Examples {
  const random = new RandomSource(seed);
  const values = new Uint8Array(count * CHANNELS * SIDE * SIDE);
  const colour = () => Array.from({ length: CHANNELS }, () => random.uniform());
  for (let i = 0; i < count; i++) {
    const [sky, ground, ballColour, boxColour] = [colour(), colour(), colour(), colour()];
    const horizon = SIDE * (0.3 + 0.4 * random.uniform());
    const ball = { x: SIDE * random.uniform(), y: SIDE * random.uniform(), radius: 5 + 10 * random.uniform() };
    const box = { x: SIDE * random.uniform(), y: SIDE * random.uniform(), half: 4 + 8 * random.uniform() };
    for (let y = 0; y < SIDE; y++) {
      const depth = 1 / (1 + Math.exp((horizon - y) / 4));
      for (let x = 0; x < SIDE; x++) {
        // Edges a pixel wide, so that there is no staircase to learn.
        const inBall = coverage(ball.radius - Math.hypot(x - ball.x, y - ball.y));
        const inBox = coverage(box.half - Math.max(Math.abs(x - box.x), Math.abs(y - box.y)));
        for (let channel = 0; channel < CHANNELS; channel++) {
          const behind = sky[channel] + depth * (ground[channel] - sky[channel]);
          const withBox = behind + inBox * (boxColour[channel] - behind);
          const shade = withBox + inBall * (ballColour[channel] - withBox);
          values[((i * CHANNELS + channel) * SIDE + y) * SIDE + x] = Math.round(255 * shade);
        }
      }
    }
  }
  return inMemory(values, [CHANNELS, SIDE, SIDE]);
}

/** How much of a pixel is inside, given how far its centre is. */
function coverage(distance: number): number {
  return Math.min(1, Math.max(0, distance + 0.5));
}
