import { useMemo } from 'preact/hooks';
import { curlOf } from '../../api/curl.js';
import { useAnswer } from '../../api/use-answer.js';
import type { ViewProps } from '../../explorer.js';
import { addressOf, adjust, choiceParameter, go, parameter, wholeParameter } from '../../location.js';
import { decode, itemOutput } from '../../model/decode.js';
import { dimensionName, type Model } from '../../model/model.js';
import { columnRanges, itemOf, type Points } from '../../model/points.js';
import {
  componentsProjection,
  dimensionsProjection,
  type Projection,
  type ProjectionKind,
  umapProjection,
} from '../../model/projection.js';
import { usePoints } from '../../model/use-points.js';
import { Choice } from '../../parts/choice.js';
import { Command } from '../../parts/command.js';
import { Item } from '../../parts/item.js';
import { Link } from '../../parts/link.js';
import { Progress } from '../../parts/progress.js';
import { Select } from '../../parts/select.js';
import { TroubleNotice } from '../../parts/trouble.js';
import { Legend } from './legend.js';
import { nameOf, type Place, Plane } from './plane.js';
import { LARGEST_ZOOM, type Viewport } from './viewport.js';

const KIND_NAMES: Readonly<Record<ProjectionKind, string>> = {
  umap: 'UMAP',
  components: 'Components',
  dimensions: 'Dimensions',
};

/** Every reference item by its latent, on a plane; a click decodes the place. */
export function MapView({ model }: ViewProps) {
  const answer = usePoints(model);
  const points = answer.value;
  return (
    <>
      <p class="lede">
        {model.details.reference === undefined
          ? 'This version comes without reference items, so these are samples of its prior, as it encodes them itself.'
          : 'Held-out items by what the model knows of them: near each other where it finds them alike.'}{' '}
        Click anywhere to decode the place.
      </p>
      <TroubleNotice answer={answer} what="The points did not come." />
      {points === undefined && answer.pending && <Progress label="Points" share={answer.share} />}
      {points && <MapOf model={model} points={points} />}
    </>
  );
}

function MapOf({ model, points }: { readonly model: Model; readonly points: Points }) {
  const kinds = kindsOf(points);
  const kind = choiceParameter('projection', kinds);
  const [first, second = first] = model.active;
  const x = wholeParameter('x', first?.index ?? 0, 0, model.latentSize - 1);
  const y = wholeParameter('y', second?.index ?? 0, 0, model.latentSize - 1);
  const projection = useMemo(() => projectionOf(kind, points, model, x, y), [kind, points, model, x, y]);
  const hiddenText = parameter('hidden') ?? '';
  const hidden = useMemo(() => new Set(hiddenText === '' ? [] : hiddenText.split(',').map(Number)), [hiddenText]);
  const pin = placeOf(parameter('at'));
  const follows = parameter('follow') === 'yes';
  const label = labelOf(model, points, projection, pin);
  const latent = pin && projection.latentAt(pin.x, pin.y);
  const ranges = useMemo(
    () =>
      points.rows === undefined || model.input.kind !== 'vector' ? undefined : columnRanges(points.rows, model.input),
    [points, model],
  );
  const decoded = useAnswer(
    latent && `${kind} ${x} ${y} ${label} ${pin.x} ${pin.y}`,
    (signal) => decode(model, [latent ?? []], label, signal),
    { live: true },
  );
  const [near] = pin === undefined ? [] : projection.index.nearest(pin.x, pin.y, 1);
  const dimensionOptions = model.active.map(({ index, kl }) => ({
    value: String(index),
    text: `${dimensionName(index)} · ${kl.toFixed(2)} nats`,
  }));
  return (
    <>
      <div class="toolbar">
        {kinds.length > 1 && (
          <Choice
            label="Projection"
            value={kind}
            options={kinds.map((value) => ({ value, text: KIND_NAMES[value] }))}
            onChange={(value) =>
              go({ projection: value === kinds[0] ? undefined : value, at: undefined, look: undefined })
            }
          />
        )}
        {kind === 'dimensions' && (
          <>
            <Select
              label="Across"
              value={String(x)}
              options={dimensionOptions}
              onChange={(value) => go({ x: value, at: undefined, look: undefined })}
            />
            <Select
              label="Up"
              value={String(y)}
              options={dimensionOptions}
              onChange={(value) => go({ y: value, at: undefined, look: undefined })}
            />
          </>
        )}
        {model.classes !== undefined && (
          <Select
            label="Decode as"
            value={parameter('label') ?? ''}
            options={[
              { value: '', text: 'the nearest class' },
              ...model.classes.map((text, value) => ({ value: String(value), text })),
            ]}
            onChange={(value) => go({ label: value === '' ? undefined : value })}
          />
        )}
        <label class="check">
          <input type="checkbox" checked={follows} onChange={() => go({ follow: follows ? undefined : 'yes' })} />
          <span>Decode under the pointer</span>
        </label>
      </div>
      <div class="split map">
        <Plane
          model={model}
          points={points}
          projection={projection}
          hidden={hidden}
          pin={pin}
          viewport={viewportOf(parameter('look'))}
          follows={follows}
          onPin={(place, isFinal) => (isFinal ? go : adjust)({ at: textOf(place) })}
          onUnpin={() => go({ at: undefined })}
          onViewport={(viewport) => adjust({ look: viewport && `${rounded(viewport.zoom)},${textOf(viewport)}` })}
        />
        <aside class="panel" aria-label="Decoded">
          {latent === undefined ? (
            <p class="hint">
              Nothing is decoded yet. Click the map, or move over it with the arrow keys and press Enter.
            </p>
          ) : (
            <>
              <div class="pair">
                <Item model={model} values={decoded.value?.items} label="Decoded here" ranges={ranges} />
                {near !== undefined && (
                  <Item
                    model={model}
                    values={itemOf(points, near.point, model)}
                    label={`Nearest: ${nameOf(points, near.point)}`}
                    ranges={ranges}
                  />
                )}
              </div>
              <TroubleNotice answer={decoded} what="Not decoded." />
              {near !== undefined && points.kind === 'reference' && (
                <p class="links">
                  <Link href={addressOf({ view: 'traversal', start: `item:${near.point}` })}>
                    Traverse from the nearest
                  </Link>
                  <Link href={addressOf({ view: 'anomaly', input: `item:${near.point}` })}>Score it</Link>
                </p>
              )}
              <p class="hint">The latent: {projection.explanation}.</p>
            </>
          )}
          {points.labels && <Legend points={points} hidden={hidden} />}
        </aside>
      </div>
      <Command text={decoded.value && curlOf(decoded.value.sent, itemOutput(model, 'decoded'))} />
    </>
  );
}

function kindsOf({ map, plane }: Points): [ProjectionKind, ...ProjectionKind[]] {
  const others: ProjectionKind[] = plane === undefined ? ['dimensions'] : ['components', 'dimensions'];
  return map === undefined ? (others as [ProjectionKind, ...ProjectionKind[]]) : ['umap', ...others];
}

function projectionOf(kind: ProjectionKind, points: Points, model: Model, x: number, y: number): Projection {
  if (kind === 'umap' && points.map !== undefined) return umapProjection(points, points.map);
  if (kind === 'components' && points.plane !== undefined) return componentsProjection(points, points.plane);
  return dimensionsProjection(points, model, x, y, [dimensionName(x), dimensionName(y)]);
}

/** The class that a conditional model decodes as: the chosen one, or that of the nearest point. */
function labelOf(model: Model, points: Points, projection: Projection, pin: Place | undefined): number {
  const chosen = parameter('label');
  if (model.classes === undefined || pin === undefined) return 0;
  if (chosen !== undefined && model.classes[Number(chosen)] !== undefined) return Number(chosen);
  const [near] = projection.index.nearest(pin.x, pin.y, 1);
  return points.labels?.[near?.point ?? 0] ?? 0;
}

function rounded(value: number): string {
  return String(Number(value.toPrecision(5)));
}

function textOf({ x, y }: Place): string {
  return `${rounded(x)},${rounded(y)}`;
}

function placeOf(text: string | undefined): Place | undefined {
  const [x = Number.NaN, y = Number.NaN] = text?.split(',').map(Number) ?? [];
  return isPlace(x) && isPlace(y) ? { x, y } : undefined;
}

/** Further out no browser draws. */
function isPlace(value: number): boolean {
  return Math.abs(value) < 1e6;
}

function viewportOf(text: string | undefined): Viewport | undefined {
  const [zoom = 0, x = Number.NaN, y = Number.NaN] = text?.split(',').map(Number) ?? [];
  return zoom > 0 && zoom <= LARGEST_ZOOM && isPlace(x) && isPlace(y) ? { zoom, x, y } : undefined;
}
