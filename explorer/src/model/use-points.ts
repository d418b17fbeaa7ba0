import { useState } from 'preact/hooks';
import { type Answer, useAnswer } from '../api/use-answer.js';
import type { Model } from './model.js';
import { type Points, pointsOf } from './points.js';

export interface PointsAnswer extends Answer<Points> {
  /** How much is there, 0 to 1. */
  readonly share: number;
}

/** The points of a model; `wanted` says whether anybody needs them yet. */
export function usePoints(model: Model, wanted = true): PointsAnswer {
  const [share, setShare] = useState(0);
  const answer = useAnswer(wanted ? model.key : undefined, () => pointsOf(model, setShare));
  return { ...answer, share };
}
