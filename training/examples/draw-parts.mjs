// Draws photographs of parts, good ones and ones with a defect, to try `elbo train --preset inspect` without a data set:
//   node training/examples/draw-parts.mjs FOLDER [GOOD]
// FOLDER/good gets GOOD images (200), FOLDER/new 20 more good ones, FOLDER/bad five of each defect.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RandomSource } from '@elbo/models';
import sharp from 'sharp';

const SIDE = 160;
const DEFECTS = ['scratch', 'stain', 'chip', 'closed-hole'];

const [folder, good = '200'] = process.argv.slice(2);
if (folder === undefined || !/^[1-9][0-9]{0,4}$/.test(good)) {
  console.error('usage: node training/examples/draw-parts.mjs FOLDER [GOOD], GOOD from 1 to 99999');
  process.exit(2);
}

await drawAll('good', Number(good), 1, () => undefined);
await drawAll('new', 20, 2, () => undefined);
await drawAll('bad', 5 * DEFECTS.length, 3, (i) => DEFECTS[Math.floor(i / 5)]);

/** Draws `count` images into a folder of its own; their names say which defect they have. */
async function drawAll(name, count, seed, defectOf) {
  const random = new RandomSource(seed);
  await mkdir(join(folder, name), { recursive: true });
  for (let i = 0; i < count; i++) {
    const defect = defectOf(i);
    const file = join(folder, name, `${defect ?? 'part'}-${String(i + 1).padStart(3, '0')}.png`);
    await photograph(random, defect).toFile(file);
  }
  console.log(`${join(folder, name)}: ${count} images`);
}

/** A flange with a bore and four bolt holes; it never lies quite the same, and the light changes. */
function photograph(random, defect) {
  const between = (low, high) => low + (high - low) * random.uniform();
  const grey = (level) => `rgb(${[level, level, level + 6].map(Math.round).join()})`;
  const dark = grey(between(26, 34));
  const centre = { x: SIDE / 2 + between(-3, 3), y: SIDE / 2 + between(-3, 3) };
  const disc = (x, y, radius, fill) => `<circle cx="${x}" cy="${y}" r="${radius}" fill="${fill}"/>`;
  const around = (angle, radius) => [radius * Math.cos(angle), radius * Math.sin(angle)];
  const holes = [0, 1, 2, 3]
    .filter((hole) => defect !== 'closed-hole' || hole !== 0)
    .map((hole) => disc(...around((hole * Math.PI) / 2, 42), 7, dark));
  const angle = between(0, 2 * Math.PI);
  const [x, y] = around(angle, between(28, 48));
  const flaws = {
    scratch: `<path d="M ${x - 9} ${y - 4} l 18 ${between(6, 10)}" stroke="${grey(240)}" stroke-width="1.6"/>`,
    stain: `<ellipse cx="${x}" cy="${y}" rx="${between(5, 7)}" ry="${between(4, 6)}" fill="rgb(122,84,52)" opacity="0.8"/>`,
    chip: disc(...around(angle, 60), between(6, 9), dark),
  };
  const light = between(165, 180);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}">
    <defs><linearGradient id="metal" x1="0" y1="0" x2="1" y2="1">
      <stop offset="0" stop-color="${grey(light + 25)}"/><stop offset="1" stop-color="${grey(light - 35)}"/>
    </linearGradient></defs>
    <rect width="100%" height="100%" fill="${dark}"/>
    <g transform="translate(${centre.x} ${centre.y}) rotate(${between(-6, 6)})">
      ${disc(0, 0, 60, 'url(#metal)')}${disc(0, 0, 18, dark)}${holes.join('')}${flaws[defect] ?? ''}
    </g>
  </svg>`;
  const noise = Uint8Array.from({ length: SIDE * SIDE * 3 }, () => random.integer(7));
  return sharp(Buffer.from(svg))
    .removeAlpha()
    .composite([{ input: noise, raw: { width: SIDE, height: SIDE, channels: 3 }, blend: 'add' }])
    .png();
}
