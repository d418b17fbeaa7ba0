import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { curlOf } from '../api/curl.js';
import { answered, FLOAT32, float32Of, service } from '../api/service.js';
import { useAnswer } from '../api/use-answer.js';
import type { ViewProps } from '../explorer.js';
import { adjust, choiceParameter, go, parameter, wholeParameter } from '../location.js';
import { itemOutput, written } from '../model/decode.js';
import { bodyOf, type GivenInput, inputsOfFile } from '../model/given-input.js';
import { type Model, queryWithLabel } from '../model/model.js';
import { columnRanges } from '../model/points.js';
import { type Start, type StartLatent, startOf, useStart } from '../model/start.js';
import { Choice } from '../parts/choice.js';
import { ClassSelect, chosenClass } from '../parts/class-select.js';
import { Command } from '../parts/command.js';
import { FileDrop } from '../parts/file-drop.js';
import { Icon } from '../parts/icon.js';
import { Item } from '../parts/item.js';
import { Picture } from '../parts/picture.js';
import { Busy } from '../parts/progress.js';
import { Slider } from '../parts/slider.js';
import { StartPicker } from '../parts/start-picker.js';
import { TroubleNotice } from '../parts/trouble.js';

const PATHS = ['linear', 'spherical'] as const;
const FRAME_MS = 110;

/** What lies between two items. */
export function MorphView({ model }: ViewProps) {
  const hasItems = (model.details.reference?.count ?? 0) > 1;
  const steps = wholeParameter('steps', 17, 2, 64);
  const path = choiceParameter('path', PATHS);
  const chosen = chosenClass(model);
  const from = useEnd(model, 'from', hasItems ? { kind: 'item', item: 0 } : sampleOf(1), chosen);
  const to = useEnd(model, 'to', hasItems ? { kind: 'item', item: 1 } : sampleOf(2), chosen);
  const ends = from.end && to.end && [from.end, to.end];
  const label = chosen ?? from.end?.label ?? 0;
  const latents = ends?.map(({ latent }) => written(latent));
  const body = latents && { latents, steps, path };
  const answer = useAnswer(
    body && JSON.stringify([body, label]),
    (signal) =>
      answered(signal, (options) =>
        service.POST('/interpolate', {
          params: { query: queryWithLabel(model, label) },
          headers: { accept: FLOAT32 },
          body: body ?? {},
          parseAs: 'arrayBuffer',
          ...options,
        }),
      ),
    { live: true },
  );
  const frames = useMemo(() => answer.value && float32Of(answer.value), [answer.value]);
  const count = frames === undefined ? 0 : frames.length / model.itemSize;
  const frame = Math.min(count - 1, wholeParameter('frame', Math.floor((steps - 1) / 2), 0, steps - 1));
  const values = frames?.subarray(frame * model.itemSize, (frame + 1) * model.itemSize);
  const ranges = useMemo(
    () => (frames === undefined || model.input.kind !== 'vector' ? undefined : columnRanges(frames, model.input)),
    [frames, model],
  );
  return (
    <>
      <p class="lede">From one item to another through the latent space: what the model takes to lie between them.</p>
      <div class="ends">
        <EndPanel model={model} title="From" name="from" end={from} />
        <EndPanel model={model} title="To" name="to" end={to} />
      </div>
      <div class="toolbar">
        <Choice
          label="Path"
          value={path}
          options={PATHS.map((value) => ({ value, text: value === 'linear' ? 'Linear' : 'Spherical' }))}
          onChange={(value) => go({ path: value === PATHS[0] ? undefined : value })}
        />
        <Slider
          label="Steps"
          value={steps}
          low={2}
          high={64}
          step={1}
          text={String(steps)}
          onChange={(value) => adjust({ steps: value, frame: undefined })}
        />
        <ClassSelect model={model} otherwise="that of the first" />
      </div>
      <TroubleNotice answer={answer} what="No path came." />
      {frames === undefined && answer.pending && <Busy label="On the way" />}
      {values !== undefined && frames !== undefined && (
        <div class="morph">
          <Item model={model} values={values} label={`Step ${frame + 1} of ${count}`} ranges={ranges} />
          <Scrubber count={count} frame={frame} />
          {model.input.kind === 'image' && (
            <div class="film">
              {Array.from({ length: count }, (_, i) => (
                <button
                  key={i}
                  type="button"
                  tabIndex={-1}
                  aria-label={`Step ${i + 1}`}
                  aria-pressed={i === frame}
                  onClick={() => adjust({ frame: i })}
                >
                  {model.input.kind === 'image' && (
                    <Picture
                      values={frames.subarray(i * model.itemSize, (i + 1) * model.itemSize)}
                      input={model.input}
                      label=""
                      decorative
                    />
                  )}
                </button>
              ))}
            </div>
          )}
        </div>
      )}
      <Command text={answer.value && curlOf(answer.value.sent, itemOutput(model, 'between'))} />
    </>
  );
}

function sampleOf(seed: number): Start {
  return { kind: 'sample', seed, place: 0, temperature: 1 };
}

interface End {
  readonly start: Start;
  readonly upload: GivenInput | undefined;
  readonly refusal: string | undefined;
  readonly end: StartLatent | undefined;
  readonly answers: readonly ReturnType<typeof useAnswer>[];
  readonly take: (file: File) => void;
  readonly forget: () => void;
}

/** One end of the path: what the address names, or a file in its place. */
function useEnd(model: Model, name: string, otherwise: Start, label: number | undefined): End {
  const [upload, setUpload] = useState<GivenInput>();
  const [refusal, setRefusal] = useState<string>();
  const start = startOf(parameter(name), model, otherwise);
  const latent = useStart(model, upload === undefined ? start : undefined, label);
  const encoded = useAnswer(upload && `${label} ${upload.key}`, async (signal) => {
    const { value } = await answered(signal, (options) =>
      service.POST('/encode', {
        params: { query: queryWithLabel(model, label ?? 0) },
        ...(upload ? bodyOf(upload) : { body: {} }),
        ...options,
      }),
    );
    return { latent: Float32Array.from(value.mean[0] ?? []), label: label ?? 0 };
  });
  const taken = useRef(0);
  return {
    start,
    upload,
    refusal,
    end: upload === undefined ? latent.value : encoded.value,
    answers: [latent, encoded],
    take: (file) => {
      const turn = ++taken.current;
      // A large file that is still being read is not shown over one that was chosen after it.
      const isNewest = () => turn === taken.current;
      inputsOfFile(model, file).then(
        ([first]) => {
          if (!isNewest()) return;
          setUpload(first);
          setRefusal(undefined);
        },
        (error: Error) => isNewest() && setRefusal(error.message),
      );
    },
    forget: () => {
      taken.current++;
      setUpload(undefined);
    },
  };
}

function EndPanel({
  model,
  title,
  name,
  end,
}: {
  readonly model: Model;
  readonly title: string;
  readonly name: string;
  readonly end: End;
}) {
  const { start, upload, refusal, answers, take, forget } = end;
  return (
    <section class="panel end" aria-label={title}>
      {upload === undefined ? (
        <StartPicker
          model={model}
          label={title}
          start={start}
          kinds={['item', 'sample']}
          onChange={(text) => go({ [name]: text, frame: undefined })}
        />
      ) : (
        <p class="uploaded">
          {title}: {upload.name}{' '}
          <button type="button" onClick={forget}>
            Take it away
          </button>
        </p>
      )}
      <FileDrop
        model={model}
        label={model.input.kind === 'image' ? 'Or an image of yours' : 'Or a row of yours'}
        onFile={take}
      />
      {refusal !== undefined && (
        <p class="trouble" role="alert">
          {refusal}
        </p>
      )}
      {answers.map((answer, i) => (
        <TroubleNotice key={i} answer={answer} what="This end did not come." />
      ))}
    </section>
  );
}

function Scrubber({ count, frame }: { readonly count: number; readonly frame: number }) {
  const [isPlaying, setPlaying] = useState(false);
  useEffect(() => {
    if (!isPlaying) return;
    // There and back again.
    const period = Math.max(1, 2 * (count - 1));
    let at = frame;
    const timer = setInterval(() => {
      at = (at + 1) % period;
      adjust({ frame: at < count ? at : period - at });
    }, FRAME_MS);
    return () => clearInterval(timer);
  }, [isPlaying, count]);
  return (
    <div class="scrubber">
      <button type="button" aria-label={isPlaying ? 'Pause' : 'Play'} onClick={() => setPlaying(!isPlaying)}>
        <Icon name={isPlaying ? 'pause' : 'play'} />
      </button>
      <Slider
        label="Step"
        value={frame}
        low={0}
        high={count - 1}
        step={1}
        text={`${frame + 1} of ${count}`}
        onChange={(value) => {
          setPlaying(false);
          adjust({ frame: value });
        }}
      />
    </div>
  );
}
