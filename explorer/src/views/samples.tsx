import { useMemo, useState } from 'preact/hooks';
import { curlOf } from '../api/curl.js';
import { troubleOfError } from '../api/problem.js';
import { answered, FLOAT32, float32Of, service } from '../api/service.js';
import { useAnswer } from '../api/use-answer.js';
import type { ViewProps } from '../explorer.js';
import { addressOf, adjust, go, goTo, numericParameter, wholeParameter } from '../location.js';
import { itemOutput } from '../model/decode.js';
import {
  cellText,
  columnsOf,
  type Model,
  queryOf,
  queryWithLabel,
  significant,
  type VectorInput,
} from '../model/model.js';
import { LARGEST_SEED } from '../model/random.js';
import { startText } from '../model/start.js';
import { ClassSelect, chosenClass } from '../parts/class-select.js';
import { Command } from '../parts/command.js';
import { download } from '../parts/download.js';
import { Icon } from '../parts/icon.js';
import { SeedField } from '../parts/number-field.js';
import { PictureGrid } from '../parts/picture-grid.js';
import { Busy } from '../parts/progress.js';
import { Select } from '../parts/select.js';
import { Slider } from '../parts/slider.js';
import { TroubleNotice } from '../parts/trouble.js';

const COUNTS = ['16', '36', '64', '144', '256'];

/** Items that the model makes up. */
export function SamplesView({ model }: ViewProps) {
  const count = wholeParameter('count', 36, 1, 1024);
  const seed = wholeParameter('seed', 1, 0, LARGEST_SEED);
  const temperature = numericParameter('temperature', 1, 0, 10);
  const label = chosenClass(model);
  const query = {
    ...(label === undefined ? queryOf(model) : queryWithLabel(model, label)),
    count,
    seed,
    temperature,
  };
  const answer = useAnswer(
    JSON.stringify(query),
    (signal) =>
      answered(signal, (options) =>
        service.POST('/sample', {
          params: { query },
          headers: { accept: FLOAT32 },
          parseAs: 'arrayBuffer',
          ...options,
        }),
      ),
    { live: true },
  );
  const items = useMemo(() => answer.value && float32Of(answer.value), [answer.value]);
  return (
    <>
      <p class="lede">New items from the prior. The same seed gives the same items, here and by the API.</p>
      <div class="toolbar">
        <Select
          label="Count"
          value={String(count)}
          options={[...new Set([...COUNTS, String(count)])].map((value) => ({ value, text: value }))}
          onChange={(value) => go({ count: value })}
        />
        <SeedField value={seed} onChange={(value) => go({ seed: value })} />
        <ClassSelect model={model} otherwise="as often as in training" />
        <Slider
          label="Temperature"
          value={temperature}
          low={0}
          high={2}
          step={0.05}
          text={significant(temperature, 3)}
          onChange={(value) => adjust({ temperature: value === 1 ? undefined : value })}
        />
        <Downloads model={model} query={query} />
      </div>
      <TroubleNotice answer={answer} what="No samples came." />
      {items === undefined && answer.pending && <Busy label="Sampling" />}
      {items !== undefined && model.input.kind === 'image' && (
        <>
          <PictureGrid
            items={items}
            input={model.input}
            name={(place) => `Sample ${place}`}
            onPick={(place) =>
              goTo(
                addressOf({ view: 'traversal', start: startText({ kind: 'sample', seed, place, temperature }), label }),
              )
            }
          />
          <p class="hint">A click traverses the latent space from a sample.</p>
        </>
      )}
      {items !== undefined && model.input.kind === 'vector' && <SampleRows input={model.input} items={items} />}
      <Command text={answer.value && curlOf(answer.value.sent, itemOutput(model, `samples-${seed}`))} />
    </>
  );
}

interface SampleQuery {
  readonly model: string;
  readonly version: string;
  readonly label?: string;
  readonly count: number;
  readonly seed: number;
  readonly temperature: number;
}

const FORMATS = {
  png: { text: 'PNG', type: 'image/png' },
  npy: { text: 'NPY', type: 'application/x-npy' },
} as const;

function Downloads({ model, query }: { readonly model: Model; readonly query: SampleQuery }) {
  const [failure, setFailure] = useState<string>();
  const save = async (format: keyof typeof FORMATS): Promise<void> => {
    const { type } = FORMATS[format];
    try {
      const { value } = await answered(new AbortController().signal, (options) =>
        service.POST('/sample', { params: { query }, headers: { accept: type }, parseAs: 'arrayBuffer', ...options }),
      );
      setFailure(undefined);
      download(value, type, `${model.name}-${model.version}-seed-${query.seed}.${format}`);
    } catch (error) {
      const { title, detail } = troubleOfError(error);
      setFailure(`${title}: ${detail}`);
    }
  };
  const formats = (Object.keys(FORMATS) as (keyof typeof FORMATS)[]).filter(
    (format) => format !== 'png' || model.input.kind === 'image',
  );
  return (
    <div class="downloads">
      {formats.map((format) => (
        <button key={format} type="button" onClick={() => save(format)}>
          <Icon name="download" />
          {FORMATS[format].text}
        </button>
      ))}
      {failure !== undefined && (
        <p class="trouble" role="alert">
          {failure}
        </p>
      )}
    </div>
  );
}

function SampleRows({ input, items }: { readonly input: VectorInput; readonly items: Float32Array }) {
  const columns = columnsOf(input);
  const count = items.length / columns.length;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard.
    <section class="wide-table" tabIndex={0} aria-label="Samples">
      <table>
        <thead>
          <tr>
            <th scope="col">#</th>
            {columns.map(({ name }) => (
              <th key={name} scope="col" class="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: count }, (_, row) => (
            <tr key={row}>
              <th scope="row">{row}</th>
              {columns.map((column, i) => (
                <td key={column.name} class="number">
                  {cellText(column, items[row * columns.length + i] ?? Number.NaN)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
