import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import type { Model } from '../../model/model.js';
import type { Points } from '../../model/points.js';
import type { Projection } from '../../model/projection.js';
import { Icon } from '../../parts/icon.js';
import { ClassNames } from './class-names.js';
import { DotPainter, HIDDEN } from './dots.js';
import { classColour, palette, rgbOf } from './palette.js';
import { PointCard } from './point-card.js';
import { type Size, View, type Viewport, wholeOf } from './viewport.js';

export interface Place {
  readonly x: number;
  readonly y: number;
}

export interface PlaneProps {
  readonly model: Model;
  readonly points: Points;
  readonly projection: Projection;
  readonly hidden: ReadonlySet<number>;
  readonly pin: Place | undefined;
  readonly viewport: Viewport | undefined;
  /** Whether the place under the pointer is decoded without a click. */
  readonly follows: boolean;
  readonly onPin: (place: Place, isFinal: boolean) => void;
  readonly onUnpin: () => void;
  readonly onViewport: (viewport: Viewport | undefined) => void;
}

/** Pixels within which a point or the pin is meant. */
const NEAR = 14;
/** Pixels that a click may move. */
const CLICK_SLOP = 4;
const KEY_STEP = 16;
const ZOOM_STEP = 1.5;
const DECODE_KEYS = ['Enter', ' '];

/** The plane of all points, to zoom, to pan and to pick from, by pointer, touch and keys. */
export function Plane(props: PlaneProps) {
  const { model, points, projection, hidden, pin, onPin, onUnpin, onViewport } = props;
  const stage = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<DotPainter>(undefined);
  const size = useSignal<Size>({ width: 0, height: 0 });
  const hovered = useSignal<number | undefined>(undefined);
  const cursor = useSignal<Place | undefined>(undefined);
  const said = useSignal('');
  const viewport = props.viewport ?? wholeOf(projection.index);
  const view = new View(viewport, size.value, projection.index);
  const latest = useRef({ view, props });
  latest.current = { view, props };

  useLayoutEffect(() => {
    const element = stage.current;
    if (element === null) return;
    const measure = () => {
      size.value = { width: element.clientWidth, height: element.clientHeight };
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [size]);

  const colours = palette();
  const scene = useMemo(() => {
    const { labels, count } = points;
    const names = labels === undefined ? [undefined] : Array.from({ length: colours.classes.length }, (_, i) => i);
    return {
      places: projection.places,
      colourOf: Uint8Array.from({ length: count }, (_, point) => {
        const label = labels?.[point];
        if (label === undefined) return 0;
        return hidden.has(label) ? HIDDEN : label % colours.classes.length;
      }),
      colours: names.map((label) => rgbOf(classColour(colours, label))),
      background: colours.background,
    };
  }, [points, projection, hidden, colours]);

  const [left, top] = view.toPage(0, 0);
  const { width, height } = size.value;
  useLayoutEffect(() => {
    const element = canvas.current;
    if (element === null || width === 0) return;
    const frame = requestAnimationFrame(() => {
      const density = Math.min(devicePixelRatio, 2);
      const [wide, high] = [Math.round(width * density), Math.round(height * density)];
      if (element.width !== wide || element.height !== high) {
        element.width = wide;
        element.height = high;
      }
      const context = element.getContext('2d', { alpha: false });
      if (context === null) return;
      painter.current ??= new DotPainter(context);
      const radius = dotRadius(points.count, view.viewport.zoom) * density;
      painter.current.draw({ ...scene, radius }, left * density, top * density, view.scale * density);
      element.dataset.drawn = String(Number(element.dataset.drawn ?? 0) + 1);
    });
    return () => cancelAnimationFrame(frame);
  }, [scene, width, height, left, top, view.scale]);

  const isShown = (point: number) => scene.colourOf[point] !== HIDDEN;
  const pointAt = (x: number, y: number): number | undefined => {
    const [near] = projection.index.nearest(x, y, 1, isShown);
    return near !== undefined && near.distance * view.scale <= NEAR ? near.point : undefined;
  };

  usePointers(stage, latest, hovered, pointAt);

  const onKeyDown = (event: KeyboardEvent): void => {
    const { key, shiftKey } = event;
    const step = shiftKey ? 4 * KEY_STEP : KEY_STEP;
    const moves: Record<string, readonly [number, number]> = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    };
    const move = moves[key];
    const from = cursor.value ?? pin ?? viewport;
    if (move !== undefined) {
      const [left, top] = view.toPage(from.x, from.y);
      const { width, height } = size.value;
      const [toLeft, toTop] = [left + move[0], top + move[1]];
      const [x, y] = view.toPlane(toLeft, toTop);
      cursor.value = { x, y };
      // The plane moves on where the cursor would leave it.
      if (toLeft < 0 || toLeft > width || toTop < 0 || toTop > height) onViewport(view.panned(-move[0], -move[1]));
      const [near] = projection.index.nearest(x, y, 1, isShown);
      hovered.value = pointAt(x, y);
      if (near !== undefined) said.value = `Nearest: ${nameOf(points, near.point)}`;
    } else if (DECODE_KEYS.includes(key)) {
      onPin(from, true);
      said.value = 'Decoded here';
    } else if (key === '+' || key === '=') onViewport(view.zoomed(ZOOM_STEP));
    else if (key === '-') onViewport(view.zoomed(1 / ZOOM_STEP));
    else if (key === '0') onViewport(undefined);
    else if (key === 'Escape') {
      cursor.value = undefined;
      hovered.value = undefined;
      onUnpin();
    } else return;
    event.preventDefault();
  };

  const shownPin = pin && view.toPage(pin.x, pin.y);
  const shownCursor = cursor.value && view.toPage(cursor.value.x, cursor.value.y);
  const over = hovered.value;
  const ring =
    over === undefined
      ? undefined
      : view.toPage(projection.places[2 * over] ?? 0, projection.places[2 * over + 1] ?? 0);
  return (
    <div class="plane">
      <div
        ref={stage}
        class="stage"
        role="application"
        aria-label={`Map of ${points.count} ${points.kind === 'reference' ? 'reference items' : 'samples'}. Arrow keys move a cursor, Enter decodes what is under it, plus and minus zoom, 0 shows all, Escape takes the cursor away.`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: an application takes keys of its own.
        tabIndex={0}
        onKeyDown={onKeyDown}
        onBlur={() => {
          hovered.value = undefined;
        }}
      >
        <canvas ref={canvas} />
        <svg class="marks" width={size.value.width} height={size.value.height} aria-hidden="true">
          {points.labels && <ClassNames points={points} projection={projection} view={view} hidden={hidden} />}
          {ring && <circle class="ring" cx={ring[0]} cy={ring[1]} r="8" />}
          {shownCursor && (
            <path
              class="cursor"
              d={`M${shownCursor[0] - 12} ${shownCursor[1]}h8m8 0h8M${shownCursor[0]} ${shownCursor[1] - 12}v8m0 8v8`}
            />
          )}
          {shownPin && (
            <g class="pin" transform={`translate(${shownPin[0]} ${shownPin[1]})`}>
              <circle r="9" />
              <circle r="2.5" />
            </g>
          )}
        </svg>
        {over !== undefined && ring && (
          <PointCard model={model} points={points} point={over} left={ring[0]} top={ring[1]} size={size.value} />
        )}
        <span class="axis across" aria-hidden="true">
          {projection.horizontal} →
        </span>
        <span class="axis up" aria-hidden="true">
          {projection.vertical} →
        </span>
        <span class="hidden-text" aria-live="polite">
          {said.value}
        </span>
      </div>
      <div class="zoom">
        <button
          type="button"
          aria-label="Zoom in"
          title="Zoom in (+)"
          onClick={() => onViewport(view.zoomed(ZOOM_STEP))}
        >
          <Icon name="plus" />
        </button>
        <button
          type="button"
          aria-label="Zoom out"
          title="Zoom out (−)"
          onClick={() => onViewport(view.zoomed(1 / ZOOM_STEP))}
        >
          <Icon name="minus" />
        </button>
        <button type="button" aria-label="Show all points" title="Show all (0)" onClick={() => onViewport(undefined)}>
          <Icon name="whole" />
        </button>
      </div>
    </div>
  );
}

/** What a point is called, for captions and for those who listen. */
export function nameOf(points: Points, point: number): string {
  const label = points.labels?.[point];
  const kind = points.kind === 'reference' ? 'item' : 'sample';
  return label === undefined ? `${kind} ${point}` : `${points.labelNames[label] ?? label} · ${kind} ${point}`;
}

/** Smaller where there are many, larger where they are few or looked at closely. */
function dotRadius(count: number, zoom: number): number {
  const base = count > 6000 ? 2 : count > 1500 ? 2.6 : 3.2;
  return Math.min(7, base * Math.max(1, zoom) ** 0.35);
}

interface Latest {
  readonly view: View;
  readonly props: PlaneProps;
}

/** Drags, pinches, the wheel, and what the pointer is over. */
function usePointers(
  stage: { readonly current: HTMLDivElement | null },
  latest: { readonly current: Latest },
  hovered: { value: number | undefined },
  pointAt: (x: number, y: number) => number | undefined,
): void {
  const find = useRef(pointAt);
  find.current = pointAt;
  useEffect(() => {
    const element = stage.current;
    if (element === null) return;
    const pointers = new Map<number, readonly [number, number]>();
    let moved = 0;
    let dragsPin = false;
    const placeOf = (event: MouseEvent): [number, number] => {
      const box = element.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const pinAt = ([left, top]: readonly [number, number], isFinal: boolean): void => {
      const { view, props } = latest.current;
      const [x, y] = view.toPlane(left, top);
      props.onPin({ x, y }, isFinal);
    };

    const down = (event: PointerEvent): void => {
      if (event.button !== 0) return;
      const place = placeOf(event);
      element.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place);
      moved = pointers.size > 1 ? CLICK_SLOP + 1 : 0;
      const { pin } = latest.current.props;
      const shown = pin && latest.current.view.toPage(pin.x, pin.y);
      dragsPin = shown !== undefined && Math.hypot(shown[0] - place[0], shown[1] - place[1]) < NEAR;
    };
    const move = (event: PointerEvent): void => {
      const place = placeOf(event);
      const { view, props } = latest.current;
      const before = pointers.get(event.pointerId);
      if (before === undefined) {
        const [x, y] = view.toPlane(...place);
        const over = find.current(x, y);
        if (hovered.value !== over) hovered.value = over;
        if (props.follows && event.pointerType === 'mouse') pinAt(place, false);
        return;
      }
      hovered.value = undefined;
      moved += Math.hypot(place[0] - before[0], place[1] - before[1]);
      pointers.set(event.pointerId, place);
      if (moved <= CLICK_SLOP) return;
      if (pointers.size === 2) {
        const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1] ?? place;
        const span = (from: readonly [number, number]) => Math.hypot(from[0] - other[0], from[1] - other[1]);
        const factor = span(place) / Math.max(1, span(before));
        props.onViewport(view.zoomed(factor, (place[0] + other[0]) / 2, (place[1] + other[1]) / 2));
      } else if (dragsPin) pinAt(place, false);
      else props.onViewport(view.panned(place[0] - before[0], place[1] - before[1]));
    };
    const up = (event: PointerEvent): void => {
      const place = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      if (place !== undefined && (moved <= CLICK_SLOP || dragsPin) && pointers.size === 0) pinAt(place, true);
      dragsPin = false;
    };
    const cancel = (event: PointerEvent): void => {
      pointers.delete(event.pointerId);
      dragsPin = false;
    };
    const leave = (): void => {
      hovered.value = undefined;
    };
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
      const { view, props } = latest.current;
      props.onViewport(view.zoomed(Math.exp(-event.deltaY * lines * 0.0016), ...placeOf(event)));
    };
    element.addEventListener('pointerdown', down);
    element.addEventListener('pointermove', move);
    element.addEventListener('pointerup', up);
    element.addEventListener('pointercancel', cancel);
    element.addEventListener('pointerleave', leave);
    // Not passive: the page must not scroll as well.
    element.addEventListener('wheel', wheel, { passive: false });
    return () => {
      element.removeEventListener('pointerdown', down);
      element.removeEventListener('pointermove', move);
      element.removeEventListener('pointerup', up);
      element.removeEventListener('pointercancel', cancel);
      element.removeEventListener('pointerleave', leave);
      element.removeEventListener('wheel', wheel);
    };
  }, [stage, latest, hovered]);
}
