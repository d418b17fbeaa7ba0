import { conformalThreshold } from '@elbo/models/calibration';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { curlOf } from '../../api/curl.js';
import { answered, service } from '../../api/service.js';
import { useAnswer } from '../../api/use-answer.js';
import type { ViewProps } from '../../explorer.js';
import { adjust, go, numericParameter, parameter } from '../../location.js';
import { bodyOf, type GivenInput, inputsOfFile } from '../../model/given-input.js';
import { type Model, percent, queryWithLabel, significant } from '../../model/model.js';
import { fileOf } from '../../model/points.js';
import { Choice } from '../../parts/choice.js';
import { ClassSelect, chosenClass } from '../../parts/class-select.js';
import { Command } from '../../parts/command.js';
import { FileDrop } from '../../parts/file-drop.js';
import { NumberField, SeedField } from '../../parts/number-field.js';
import { Busy } from '../../parts/progress.js';
import { RowTable } from '../../parts/row-table.js';
import { Slider } from '../../parts/slider.js';
import { TroubleNotice } from '../../parts/trouble.js';
import { HeatMap } from './heat-map.js';
import { Histogram } from './histogram.js';
import { RowEditor } from './row-editor.js';
import { Components, Contributions } from './score-parts.js';
import { rowText, type SourceKind, sourceOf, useInput } from './use-input.js';

const KIND_NAMES: Readonly<Record<SourceKind, string>> = {
  item: 'Reference item',
  sample: 'Sample',
  noise: 'Noise',
  row: 'Values',
};

/** Columns of a table that are named. */
const EXPLAINED = 8;

/** How unlike what the model learned an item is, and why. */
export function AnomalyView({ model }: ViewProps) {
  const [uploads, setUploads] = useState<readonly GivenInput[]>([]);
  const [place, setPlace] = useState(0);
  const [refusal, setRefusal] = useState<string>();
  const taken = useRef(0);
  const hasItems = model.details.reference?.items !== undefined;
  const label = chosenClass(model);
  const text = parameter('input');
  const isFile = text === 'file';
  const source = isFile
    ? undefined
    : sourceOf(text, model, { kind: hasItems ? 'item' : 'sample', number: hasItems ? 0 : 1 });
  const named = useInput(model, source, label);
  const input = isFile ? uploads[place] : named.input;
  const kinds: SourceKind[] = [
    ...(hasItems ? (['item'] as const) : []),
    'sample',
    'noise',
    ...(model.input.kind === 'vector' ? (['row'] as const) : []),
  ];
  const asSource = (kind: SourceKind): string => {
    if (kind !== 'row') return `${kind}:${kind === 'item' ? 0 : 1}`;
    return rowText(input?.values ?? new Float32Array(model.itemSize).fill(Number.NaN));
  };
  const take = (file: File): void => {
    const turn = ++taken.current;
    // A large file that is still being read is not shown over one that was chosen after it, nor over another view.
    const isNewest = () => turn === taken.current;
    inputsOfFile(model, file).then(
      (inputs) => {
        if (!isNewest()) return;
        setUploads(inputs);
        setPlace(0);
        setRefusal(undefined);
        go({ input: 'file' });
      },
      (error: Error) => isNewest() && setRefusal(error.message),
    );
  };
  useEffect(
    () => () => {
      taken.current++;
    },
    [],
  );
  return (
    <>
      <p class="lede">How unusual an item is, how sure that is, and where it stands out.</p>
      <div class="toolbar">
        <Choice
          label="Score"
          value={(isFile ? 'file' : (source?.kind ?? 'sample')) as SourceKind}
          options={kinds.map((value) => ({ value, text: KIND_NAMES[value] }))}
          onChange={(kind) => go({ input: asSource(kind) })}
        />
        {source?.kind === 'item' && (
          <div class="seed">
            <NumberField
              label="Item"
              value={source.number}
              low={0}
              high={(model.details.reference?.count ?? 1) - 1}
              onChange={(number) => go({ input: `item:${number}` })}
            />
            <button
              type="button"
              onClick={() => go({ input: `item:${Math.floor(Math.random() * (model.details.reference?.count ?? 1))}` })}
            >
              Another
            </button>
          </div>
        )}
        {(source?.kind === 'sample' || source?.kind === 'noise') && (
          <SeedField value={source.number} onChange={(seed) => go({ input: `${source.kind}:${seed}` })} />
        )}
        {isFile && uploads.length > 1 && (
          <NumberField
            label="Row"
            value={place + 1}
            low={1}
            high={uploads.length}
            onChange={(row) => setPlace(row - 1)}
          />
        )}
        <ClassSelect model={model} otherwise="its own" />
        <FileDrop
          model={model}
          label={model.input.kind === 'image' ? 'An image of yours' : 'Rows of yours'}
          takesPaste
          onFile={take}
        />
      </div>
      {refusal !== undefined && (
        <p class="trouble" role="alert">
          {refusal}
        </p>
      )}
      {named.answers.map((answer, i) => (
        <TroubleNotice key={i} answer={answer} what="The item did not come." />
      ))}
      {isFile && input === undefined && (
        <p class="hint">The address names a file, which only its owner has: choose it again.</p>
      )}
      {input !== undefined && (
        <Judgement model={model} input={input} label={label ?? input.label ?? 0} ranges={named.ranges} />
      )}
      {input === undefined && !isFile && named.answers.every(({ trouble }) => trouble === undefined) && (
        <Busy label="Looking for the item" />
      )}
    </>
  );
}

interface JudgementProps {
  readonly model: Model;
  readonly input: GivenInput;
  readonly label: number;
  readonly ranges: readonly (readonly [number, number])[] | undefined;
}

function Judgement({ model, input, label, ranges }: JudgementProps) {
  const { calibration } = model.details;
  const least = 1 / (calibration.size + 1);
  const fpr = numericParameter('fpr', calibration.default_false_positive_rate, least, 0.5);
  const query = queryWithLabel(model, label);
  const isImage = model.input.kind === 'image';
  // The error map comes with the score: each item that is asked counts in the service's drift.
  const parts = isImage ? { error_map: true } : { explain: EXPLAINED };
  const answer = useAnswer(
    `${label} ${input.key}`,
    async (signal) => {
      const { value, sent } = await answered(signal, (options) =>
        service.POST('/anomaly-score', { params: { query: { ...query, ...parts } }, ...bodyOf(input), ...options }),
      );
      const errors = value.error_map && Float32Array.from(value.error_map.flat(Number.POSITIVE_INFINITY) as number[]);
      return { value, sent, errors, of: input };
    },
    { live: true },
  );
  const showsWhere = parameter('where') !== 'no';
  const held = useAnswer(model.key, async (signal) => new Float32Array(await fileOf(model, 'calibration.f32', signal)));
  const isItsOwn = answer.value?.of.key === input.key;
  // The last one stays until the next is there, and no longer where none comes.
  const shown = isItsOwn || answer.pending ? answer.value : undefined;
  const [score] = shown?.value.scores ?? [];
  const threshold = useMemo(() => held.value && conformalThreshold(held.value, fpr), [held.value, fpr]);
  // An older error map over a newer item would show what is not there.
  const errors = isItsOwn ? answer.value?.errors : undefined;
  return (
    <>
      <div class="split judgement">
        <section class="panel" aria-label="The item">
          {model.input.kind === 'image' && (
            <figure class="item">
              <HeatMap
                values={input.values}
                errors={showsWhere ? errors : undefined}
                input={model.input}
                label={input.name}
              />
              <figcaption>{input.name}</figcaption>
            </figure>
          )}
          {isImage && (
            <label class="check">
              <input
                type="checkbox"
                checked={showsWhere}
                onChange={() => go({ where: showsWhere ? 'no' : undefined })}
              />
              <span>Show where it is unusual</span>
            </label>
          )}
          {model.input.kind === 'vector' && (
            <>
              <RowTable input={model.input} values={input.values} ranges={ranges} caption={input.name} />
              <details>
                <summary>Change values</summary>
                <RowEditor
                  input={model.input}
                  values={input.values}
                  onChange={(values) => go({ input: rowText(values) })}
                />
              </details>
            </>
          )}
        </section>
        <section class="verdict" aria-label="Verdict" aria-live="polite">
          <TroubleNotice answer={answer} what="Not scored." />
          {score === undefined && answer.pending && <Busy label="Scoring" />}
          {score !== undefined && (
            <>
              <Verdict pValue={score.p_value} score={score.score} fpr={fpr} size={calibration.size} />
              {held.value !== undefined && threshold !== undefined && (
                <Histogram scores={held.value} threshold={threshold} score={score.score} />
              )}
              <TroubleNotice answer={held} what="The calibration did not come." />
              <Slider
                label="False-positive rate"
                value={Math.log10(fpr)}
                low={Math.log10(least)}
                high={Math.log10(0.5)}
                step={0.01}
                text={percent(fpr)}
                hint={`Of 10,000 normal items about ${Math.round(fpr * 10_000)} are called anomalous.`}
                onChange={(exponent) =>
                  adjust({ fpr: Number(Math.max(least, Math.min(0.5, 10 ** exponent)).toPrecision(3)) })
                }
              />
            </>
          )}
        </section>
      </div>
      {score?.contributions !== undefined && <Contributions contributions={score.contributions} />}
      {score !== undefined && <Components model={model} score={score} />}
      <Command
        text={
          shown &&
          curlOf(shown.sent, {
            query: {
              error_map: undefined,
              fpr: fpr === calibration.default_false_positive_rate ? undefined : String(fpr),
            },
            ...(shown.of.body instanceof File && { file: shown.of.body }),
          })
        }
      />
    </>
  );
}

interface VerdictProps {
  readonly pValue: number;
  readonly score: number;
  readonly fpr: number;
  readonly size: number;
}

function Verdict({ pValue, score, fpr, size }: VerdictProps) {
  const isAnomaly = pValue <= fpr;
  const isLeast = pValue <= 1 / (size + 1);
  const often = Math.round(pValue * 10_000);
  return (
    <div class={`judgement-words ${isAnomaly ? 'anomalous' : 'normal'}`}>
      <p class="word">
        <svg viewBox="0 0 24 24" width="28" height="28" aria-hidden="true">
          {isAnomaly ? <path d="M12 3l10 18H2zM12 10v5m0 3v.01" /> : <path d="M4 12.5l5 5L20 6.5" />}
        </svg>
        {isAnomaly ? 'Anomalous' : 'Normal'}
      </p>
      <p>
        {isLeast
          ? `None of ${size} held-out normal items scores so high.`
          : `Of 10,000 normal items about ${often} score at least so high.`}
      </p>
      <dl>
        <div>
          <dt>Score</dt>
          <dd>{significant(score, 4)}</dd>
        </div>
        <div>
          <dt>p-value</dt>
          <dd>
            {isLeast && '≤ '}
            {significant(pValue, 3)}
          </dd>
        </div>
        <div>
          <dt>False-positive rate</dt>
          <dd>{percent(fpr)}</dd>
        </div>
      </dl>
    </div>
  );
}
