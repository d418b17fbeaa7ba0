import type { VNode } from 'preact';
import { quantileSorted } from 'simple-statistics';
import type { ServedModel } from '../../offline/served-model.js';
import type { ImageForm } from '../../pictures/image-form.js';
import { fixed, significant } from '../../pictures/numbers.js';
import type { Dimension } from '../dimensions.js';
import { type InlineImage, picture } from '../images.js';
import { column, type Observations, readItems } from '../observations.js';
import { labelled, Picture, tileWidth } from './pictures.js';
import { Choice, type Section } from './section.js';
import { columnName, scales, tableTraversals } from './tables.js';

const STEPS = 11;
const MOST_DIMENSIONS = 32;
const MOST_COLUMNS = 24;
/** Test examples that a traversal can start from, besides the aggregate mean. */
const EXAMPLES = 2;
/** Quantiles of the posterior means between which a dimension is walked. */
const OUTER = 0.01;
/** Where no data are at hand: standard deviations of a standard normal prior. */
const REACH = 2;
/** Rows whose columns' scales are taken where no data are at hand. */
const SCALE_SAMPLES = 500;

interface Walk {
  readonly dimension: Dimension;
  readonly low: number;
  readonly high: number;
}

/** A point of latent space that walks start from. */
interface Start {
  /** Of a conditional model: the class that stays. */
  readonly label: number;
  readonly name: string;
  readonly latent: Float32Array;
}

/** What each active dimension means: the decoder along its range, all others held. */
export async function traversalSection(
  model: ServedModel,
  dimensions: readonly Dimension[],
  observed: Observations | undefined,
  form: ImageForm | undefined,
): Promise<Section> {
  const { size } = model.manifest.latent;
  const active = dimensions.filter(({ isActive }) => isActive);
  const walks = active.slice(0, MOST_DIMENSIONS).map((dimension) => walk(dimension, size, observed));
  const range =
    observed === undefined
      ? `from −${REACH} to ${REACH}, since no data are at hand`
      : 'from the 1\u00a0% to the 99\u00a0% quantile of its posterior means on the test examples';
  return {
    id: 'traversals',
    title: 'Traversals',
    body:
      walks.length === 0 ? (
        <p class="absent">No latent dimension is active: the decoder gives the same for all.</p>
      ) : (
        <>
          <p>
            Each active dimension walked in equal steps {range}, all others held; those that tell most come first.
            {walks.length < active.length && ` The first ${walks.length} of ${active.length} are shown.`}
          </p>
          {form === undefined
            ? await tableOf(model, walks, observed)
            : await stripsOf(model, walks, startsOf(model, observed), form)}
        </>
      ),
  };
}

function walk(dimension: Dimension, size: number, observed: Observations | undefined): Walk {
  if (observed === undefined) return { dimension, low: -REACH, high: REACH };
  const sorted = column(observed.means, size, dimension.index).sort((a, b) => a - b);
  return { dimension, low: quantileSorted(sorted, OUTER), high: quantileSorted(sorted, 1 - OUTER) };
}

function startsOf({ manifest, classes }: ServedModel, observed: Observations | undefined): Start[] {
  const { size } = manifest.latent;
  // A point that no example is at has no class of its own; one has to be taken.
  const taken = labelled(classes === undefined ? undefined : 0);
  if (observed === undefined) return [{ name: `the origin${taken}`, latent: new Float32Array(size), label: 0 }];
  const { examples, means, aggregate } = observed;
  return [
    { name: `the aggregate mean${taken}`, latent: Float32Array.from(aggregate.mean), label: 0 },
    ...Array.from({ length: Math.min(EXAMPLES, examples.count) }, (_, i) => ({
      name: `test example ${i}${labelled(examples.labels?.[i])}`,
      latent: means.slice(i * size, (i + 1) * size),
      label: examples.labels?.[i] ?? 0,
    })),
  ];
}

/** The points of a walk, [STEPS, Z]. */
function points({ latent }: Start, { dimension: { index }, low, high }: Walk, steps: number): Float32Array {
  const rows = new Float32Array(steps * latent.length);
  for (let step = 0; step < steps; step++) {
    rows.set(latent, step * latent.length);
    rows[step * latent.length + index] = low + ((high - low) * step) / (steps - 1);
  }
  return rows;
}

async function stripsOf(
  model: ServedModel,
  walks: readonly Walk[],
  starts: readonly Start[],
  form: ImageForm,
): Promise<VNode> {
  const panels: InlineImage[][] = [];
  for (const start of starts) {
    const strips: InlineImage[] = [];
    for (const walk of walks)
      strips.push(
        await picture(form, await model.decode(points(start, walk, STEPS), new Array(STEPS).fill(start.label))),
      );
    panels.push(strips);
  }
  return (
    <div class="switch">
      {starts.length > 1 && <Choice name="start" legend="Start from" options={starts.map(({ name }) => name)} />}
      {starts.map(({ name }, panel) => (
        <ul class="strips" key={name} data-panel={panel} style={{ '--strip': `${STEPS * tileWidth(form)}px` }}>
          {walks.map(({ dimension: { index, kl }, low, high }, i) => (
            <li key={index}>
              <span class="name">
                <strong>z{index}</strong> <span>{fixed(kl, 2)} nats</span>
              </span>
              <Picture
                image={panels[panel][i]}
                columns={STEPS}
                alt={`Dimension ${index} from ${significant(low)} to ${significant(high)}, starting from ${name}`}
              />
              <span class="range">
                {fixed(low, 1)} to {fixed(high, 1)}
              </span>
            </li>
          ))}
        </ul>
      ))}
    </div>
  );
}

async function tableOf(model: ServedModel, walks: readonly Walk[], observed: Observations | undefined): Promise<VNode> {
  const [start] = startsOf(model, observed);
  const effects: Float32Array[] = [];
  for (const walk of walks) {
    const [low, high] = await model.decode(points(start, walk, 2), [start.label, start.label]);
    effects.push(high.map((value, j) => value - low[j]));
  }
  const rows =
    observed !== undefined
      ? await readItems(
          observed.examples,
          Array.from({ length: Math.min(SCALE_SAMPLES, observed.examples.count) }, (_, i) => i),
        )
      : await model.decode(model.drawFromPrior(SCALE_SAMPLES, 0), model.drawClasses(SCALE_SAMPLES, 0));
  const units = scales(rows);
  const changes = effects.map((effect) => Array.from(effect, (change, j) => change / (units[j] ?? 1)));
  // The columns that move most, in the order of the table.
  const strongest = Array.from(effects[0], (_, j) => ({
    j,
    reach: Math.max(...changes.map((row) => Math.abs(row[j]))),
  }))
    .sort((a, b) => b.reach - a.reach)
    .slice(0, MOST_COLUMNS)
    .map(({ j }) => j)
    .sort((a, b) => a - b);
  return (
    <>
      <p>
        From {start.name}: how far each column's expected value moves, in its standard deviations
        {observed === undefined ? ' over samples' : ' over the test examples'}
        {strongest.length < effects[0].length && `; the ${strongest.length} columns that move most`}.
      </p>
      {tableTraversals(
        walks.map(({ dimension: { index } }, i) => ({
          name: `z${index}`,
          changes: strongest.map((j) => changes[i][j]),
        })),
        strongest.map((j) => columnName(model, j)),
      )}
    </>
  );
}
