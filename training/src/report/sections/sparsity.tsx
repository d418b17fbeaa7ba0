import type { VNode } from 'preact';
import { BINS_A_DECADE, DECADES, type LayerWeights, SMALLEST_DECADE, type Weights } from '../layer-weights.js';
import type { Section } from './section.js';
import { whole } from './summary.js';

/** How many weights each layer has, how many are exactly zero, and how large the others are. */
export function sparsitySection({ layers }: Weights): Section {
  const count = layers.reduce((sum, layer) => sum + layer.count, 0);
  const zeros = layers.reduce((sum, layer) => sum + layer.zeros, 0);
  return {
    id: 'weights',
    title: 'Weights',
    body: (
      <>
        <p>
          {zeros === 0
            ? `None of the ${whole(count)} weights of the encoder and the decoder is exactly zero.`
            : `${percent(zeros, count)} of the ${whole(count)} weights of the encoder and the decoder are exactly zero: ${whole(count - zeros)} are left.`}{' '}
          Magnitudes are those of the weights that are not zero, from 10<sup>−6</sup> to 10<sup>2</sup>; the line is at
          10<sup>−2</sup>.
        </p>
        <div class="scroll">
          <table class="stacked">
            <thead>
              <tr>
                <th scope="col">layer</th>
                <th scope="col">shape</th>
                <th scope="col" class="number">
                  weights
                </th>
                <th scope="col" class="number">
                  exact zeros
                </th>
                <th scope="col">magnitudes</th>
              </tr>
            </thead>
            <tbody>
              {layers.map((layer) => (
                <tr key={layer.name}>
                  <th scope="row">{layer.name}</th>
                  <td class="nowrap">{layer.shape.join(' × ')}</td>
                  <td class="number" data-unit="weights">
                    {whole(layer.count)}
                  </td>
                  <td class="number" data-unit="zeros">
                    {percent(layer.zeros, layer.count)}
                  </td>
                  <td>
                    <Magnitudes layer={layer} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </>
    ),
  };
}

const BAR = 5;
const HEIGHT = 32;

function Magnitudes({ layer: { magnitudes, name } }: { layer: LayerWeights }): VNode {
  const largest = Math.max(...magnitudes, 1);
  const bars = magnitudes
    .map((count, i) => {
      const height = Math.round((HEIGHT * 10 * count) / largest) / 10;
      return height === 0 ? '' : `M${i * BAR},${HEIGHT}v-${height}h${BAR - 1}v${height}z`;
    })
    .join('');
  const mode = SMALLEST_DECADE + (magnitudes.indexOf(Math.max(...magnitudes)) + 0.5) / BINS_A_DECADE;
  return (
    <svg
      class="magnitudes"
      viewBox={`0 0 ${DECADES * BINS_A_DECADE * BAR} ${HEIGHT + 1}`}
      role="img"
      aria-label={`${name}: most magnitudes are about ${(10 ** mode).toPrecision(1)}`}
    >
      <path class="axis" d={`M0,${HEIGHT + 0.5}H${DECADES * BINS_A_DECADE * BAR}`} />
      <path class="axis" d={`M${(-2 - SMALLEST_DECADE) * BINS_A_DECADE * BAR - 0.5},0V${HEIGHT}`} />
      <path class="filled" d={bars} />
    </svg>
  );
}

/** A share that is not 0 or 1 is not shown as such. */
function percent(part: number, whole: number): string {
  const share = (100 * part) / Math.max(1, whole);
  if (part === 0 || part === whole) return `${share}\u00a0%`;
  return `${Math.min(99.99, Math.max(0.01, share)).toFixed(share > 99 || share < 1 ? 2 : 1)}\u00a0%`;
}
