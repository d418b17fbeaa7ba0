import type { Progress } from '../trainer/trainer.js';

/** What is said of skipped steps, a line for each reason: those since the progress before. */
export function skippedSteps(): (progress: Pick<Progress, 'step' | 'skippedSteps' | 'longGradients'>) => string[] {
  let before = { notFinite: 0, longGradients: 0 };
  return ({ step, skippedSteps: all, longGradients }) => {
    const notFinite = all - longGradients;
    const lines = [
      said(notFinite - before.notFinite, step, 'loss or gradient not finite'),
      said(longGradients - before.longGradients, step, 'gradient longer than optimiser.skip_gradient_norm'),
    ];
    before = { notFinite, longGradients };
    return lines.flat();
  };
}

function said(count: number, step: number, reason: string): string[] {
  return count === 0 ? [] : [`${count} ${count === 1 ? 'step' : 'steps'} before step ${step} skipped: ${reason}`];
}
