import { useMemo } from 'preact/hooks';
import { curlOf } from '../api/curl.js';
import { useAnswer } from '../api/use-answer.js';
import type { ViewProps } from '../explorer.js';
import { adjust, go, parameter } from '../location.js';
import { decode, decodeAll, itemOutput } from '../model/decode.js';
import { columnsOf, type Dimension, dimensionName, type Model, significant, type VectorInput } from '../model/model.js';
import { columnRanges } from '../model/points.js';
import { startOf, useStart } from '../model/start.js';
import { ClassSelect, chosenClass } from '../parts/class-select.js';
import { Command } from '../parts/command.js';
import { Item } from '../parts/item.js';
import { Picture } from '../parts/picture.js';
import { Busy } from '../parts/progress.js';
import { Slider } from '../parts/slider.js';
import { StartPicker } from '../parts/start-picker.js';
import { TroubleNotice } from '../parts/trouble.js';
import { useSettled } from '../parts/use-settled.js';

/** Dimensions shown before somebody asks for the rest. */
const SHOWN = 12;
/** Pictures along a dimension. */
const STRIP = 7;
const SETTLE_MS = 200;

/** One slider a dimension, and what the model makes of it. */
export function TraversalView({ model }: ViewProps) {
  const start = startOf(parameter('start'), model, { kind: 'mean' });
  const label = chosenClass(model);
  const base = useStart(model, start, label);
  const overrides = overridesOf(parameter('z'), model.latentSize);
  const showsAll = parameter('all') === 'yes';
  const shown = showsAll ? model.active : model.active.slice(0, SHOWN);
  const latent = base.value && withOverrides(base.value.latent, overrides);
  const asClass = base.value?.label ?? 0;
  const latentText = latent === undefined ? undefined : `${asClass} ${Array.from(latent).join()}`;
  const decoded = useAnswer(latentText, (signal) => decode(model, [latent ?? []], asClass, signal), { live: true });
  const settled = useSettled(latentText, SETTLE_MS);
  const strips = useAnswer(
    settled && `${settled} ${shown.length}`,
    (signal) => decodeAll(model, stripsOf(latent, shown), asClass, signal),
    { live: true },
  );
  const ranges = useMemo(
    () =>
      strips.value === undefined || model.input.kind !== 'vector' ? undefined : columnRanges(strips.value, model.input),
    [strips.value, model],
  );
  const set = (index: number, value: number | undefined): void => {
    const next = new Map(overrides);
    if (value === undefined) next.delete(index);
    else next.set(index, value);
    adjust({ z: textOf(next) });
  };
  const idle = model.latentSize - model.active.length;
  return (
    <>
      <p class="lede">
        What each latent dimension stands for: those that tell most come first
        {idle > 0 && `; ${idle} that tell nothing ${idle === 1 ? 'is' : 'are'} left out`}.
      </p>
      <div class="toolbar">
        <StartPicker
          model={model}
          label="Start from"
          start={start}
          kinds={['mean', 'item', 'sample']}
          onChange={(text) => go({ start: text === 'mean' ? undefined : text, z: undefined })}
        />
        <ClassSelect model={model} otherwise={start.kind === 'mean' ? 'the first' : 'its own'} />
        <button type="button" aria-disabled={overrides.size === 0} onClick={() => go({ z: undefined })}>
          Reset sliders
        </button>
      </div>
      <TroubleNotice answer={base} what="The start did not come." />
      <div class="split traversal">
        <div class="dimensions">
          {latent === undefined && base.pending && <Busy label="Looking for the start" />}
          {latent !== undefined &&
            shown.map((dimension, place) => (
              <DimensionRow
                key={dimension.index}
                model={model}
                dimension={dimension}
                largest={model.active[0]?.kl ?? 1}
                value={latent[dimension.index] ?? 0}
                isChanged={overrides.has(dimension.index)}
                strip={strips.value?.subarray(place * STRIP * model.itemSize, (place + 1) * STRIP * model.itemSize)}
                ranges={ranges}
                onChange={(value) => set(dimension.index, value)}
              />
            ))}
          {model.active.length > SHOWN && (
            <button type="button" onClick={() => go({ all: showsAll ? undefined : 'yes' })}>
              {showsAll ? `Show the first ${SHOWN}` : `Show ${model.active.length - SHOWN} more`}
            </button>
          )}
        </div>
        <aside class="panel sticky" aria-label="Decoded">
          <TroubleNotice answer={decoded} what="Not decoded." />
          <Item model={model} values={decoded.value?.items} label="Decoded" ranges={ranges} />
          <TroubleNotice answer={strips} what="The strips did not come." />
        </aside>
      </div>
      <Command text={decoded.value && curlOf(decoded.value.sent, itemOutput(model, 'decoded'))} />
    </>
  );
}

interface DimensionRowProps {
  readonly model: Model;
  readonly dimension: Dimension;
  readonly largest: number;
  readonly value: number;
  readonly isChanged: boolean;
  readonly strip: Float32Array | undefined;
  readonly ranges: readonly (readonly [number, number])[] | undefined;
  readonly onChange: (value: number | undefined) => void;
}

function DimensionRow({ model, dimension, largest, value, isChanged, strip, ranges, onChange }: DimensionRowProps) {
  const { index, kl, range } = dimension;
  const [low, high] = [Math.min(range[0], value), Math.max(range[1], value)];
  const name = dimensionName(index);
  const { input } = model;
  const isThere = strip !== undefined && strip.length === STRIP * model.itemSize;
  return (
    <div class={`dimension${isChanged ? ' changed' : ''}`}>
      <Slider
        label={
          <>
            <b>{name}</b>
            <span class="kl" title="Mean KL divergence to the prior">
              <span class="kl-bar" style={{ width: `${Math.max(2, (44 * kl) / largest)}px` }} />
              {kl.toFixed(2)} nats
            </span>
          </>
        }
        value={value}
        low={Number(low.toFixed(3))}
        high={Number(high.toFixed(3))}
        step={0.01}
        text={significant(value, 3)}
        onChange={onChange}
      />
      {input.kind === 'image' && (
        <div class="strip">
          {stripValues(dimension).map((place, i) => (
            <button
              key={place}
              type="button"
              tabIndex={-1}
              aria-label={`Set ${name} to ${significant(place, 2)}`}
              onClick={() => onChange(Number(place.toFixed(3)))}
            >
              {isThere ? (
                <Picture
                  values={strip.subarray(i * model.itemSize, (i + 1) * model.itemSize)}
                  input={input}
                  label=""
                  decorative
                />
              ) : (
                <span class="picture waiting" />
              )}
            </button>
          ))}
        </div>
      )}
      {input.kind === 'vector' && isThere && <Effects input={input} strip={strip} ranges={ranges} />}
    </div>
  );
}

/** Columns named for each dimension. */
const EFFECTS = 3;
/** Smaller parts of a column's range are no effect. */
const LEAST_EFFECT = 0.03;

/** Which columns follow a dimension of a table, and which way. */
function Effects({
  input,
  strip,
  ranges,
}: {
  readonly input: VectorInput;
  readonly strip: Float32Array;
  readonly ranges: DimensionRowProps['ranges'];
}) {
  const columns = columnsOf(input);
  const last = (STRIP - 1) * columns.length;
  const effects = columns
    .map(({ name, categories }, i) => {
      const [low, high] = ranges?.[i] ?? [0, 0];
      const change = ((strip[last + i] ?? 0) - (strip[i] ?? 0)) / Math.max(high - low, 1e-12);
      return { name, isCategory: categories !== undefined, change };
    })
    .filter(({ change }) => Math.abs(change) > LEAST_EFFECT)
    .toSorted((a, b) => Math.abs(b.change) - Math.abs(a.change))
    .slice(0, EFFECTS);
  return (
    <p class="effects">
      {effects.length === 0
        ? 'No column follows it from here.'
        : effects.map(({ name, isCategory, change }) => (
            <span key={name}>
              {name} {isCategory ? 'changes' : change > 0 ? '↑' : '↓'}
            </span>
          ))}
    </p>
  );
}

function stripValues({ range: [low, high] }: Dimension): number[] {
  return Array.from({ length: STRIP }, (_, i) => low + ((high - low) * i) / (STRIP - 1));
}

function stripsOf(latent: Float32Array | undefined, dimensions: readonly Dimension[]): Float32Array[] {
  if (latent === undefined) return [];
  return dimensions.flatMap((dimension) => stripValues(dimension).map((value) => latent.with(dimension.index, value)));
}

function withOverrides(latent: Float32Array, overrides: ReadonlyMap<number, number>): Float32Array {
  const changed = latent.slice();
  for (const [index, value] of overrides) changed[index] = value;
  return changed;
}

/** `3:1.2,5:-0.4`: values of dimensions, from 0. */
function overridesOf(text: string | undefined, size: number): Map<number, number> {
  const pairs = (text ?? '').split(',').map((pair) => pair.split(':').map(Number));
  return new Map(
    pairs.flatMap(([index = Number.NaN, value = Number.NaN]): [number, number][] =>
      Number.isInteger(index) && index >= 0 && index < size && Number.isFinite(Math.fround(value))
        ? [[index, value]]
        : [],
    ),
  );
}

function textOf(overrides: ReadonlyMap<number, number>): string | undefined {
  return overrides.size === 0 ? undefined : [...overrides].map(([index, value]) => `${index}:${value}`).join();
}
