import { useMemo } from 'preact/hooks';
import { type Answer, useAnswer } from '../../api/use-answer.js';
import { type GivenInput, inputOfItem, inputOfNoise, inputOfRow, inputOfSample } from '../../model/given-input.js';
import type { Model } from '../../model/model.js';
import { columnRanges } from '../../model/points.js';
import { LARGEST_SEED } from '../../model/random.js';
import { usePoints } from '../../model/use-points.js';

export type Source =
  | { readonly kind: 'item' | 'sample' | 'noise'; readonly number: number }
  | { readonly kind: 'row'; readonly values: Float32Array };
export type SourceKind = Source['kind'];

/** `item:12`, `sample:7`, `noise:3`, or of tables `row:` and its values, missing ones left out. */
export function sourceOf(text: string | undefined, model: Model, otherwise: Source): Source {
  const [kind, rest = ''] = text?.split(/:(.*)/s) ?? [];
  if (kind === 'row' && model.input.kind === 'vector') {
    const cells = rest.split(',');
    const values = Float32Array.from({ length: model.itemSize }, (_, i) => {
      const cell = cells[i] ?? '';
      const value = cell === '' ? Number.NaN : Number(cell);
      return Number.isFinite(Math.fround(value)) ? value : Number.NaN;
    });
    return { kind, values };
  }
  const number = Number(rest);
  if (rest === '' || !Number.isInteger(number) || number < 0 || number > LARGEST_SEED) return otherwise;
  const { reference } = model.details;
  if (kind === 'item' && reference?.items !== undefined) return { kind, number: Math.min(number, reference.count - 1) };
  return kind === 'sample' || kind === 'noise' ? { kind, number } : otherwise;
}

export function rowText(values: Float32Array): string {
  return `row:${Array.from(values, (value) => (Number.isNaN(value) ? '' : Number(value.toPrecision(7)))).join()}`;
}

export interface InputAnswer {
  readonly input: GivenInput | undefined;
  readonly answers: readonly Answer<unknown>[];
  /** Where values of each column lie among reference rows. */
  readonly ranges: [number, number][] | undefined;
}

/** The item that a source names, as soon as it is there. */
export function useInput(model: Model, source: Source | undefined, label: number | undefined): InputAnswer {
  const hasReference = model.details.reference !== undefined;
  const isTable = model.input.kind === 'vector';
  const points = usePoints(model, hasReference && (source?.kind === 'item' || isTable));
  const { rows } = points.value ?? {};
  const ranges = useMemo(() => {
    const { input } = model;
    return rows === undefined || input.kind !== 'vector' ? undefined : columnRanges(rows, input);
  }, [rows, model]);
  const seed = source?.kind === 'sample' ? source.number : undefined;
  const sampled = useAnswer(seed === undefined ? undefined : `${seed} ${label}`, (signal) =>
    inputOfSample(model, seed ?? 0, label, signal),
  );
  const sheet = points.value?.sheet.value;
  const text = source?.kind === 'row' ? rowText(source.values) : `${source?.kind} ${source?.number}`;
  const input = useMemo(() => {
    if (source === undefined) return undefined;
    if (source.kind === 'row') return inputOfRow(model, source.values);
    if (source.kind === 'noise') return inputOfNoise(model, source.number, ranges);
    if (source.kind === 'sample') return sampled.value;
    return points.value && inputOfItem(model, points.value, source.number);
  }, [model, text, ranges, sampled.value, points.value, sheet]);
  return { input, answers: [points, sampled], ranges };
}
