import { readFileSync } from 'node:fs';
import { differentiableOperators } from '@elbo/training/autodiff/rules';
import { operatorNames } from '@elbo/training/onnx/inference';
import { describe, expect, test } from 'vitest';
import { operatorsWithoutGradient } from './support/operator-cases.js';

/** Operators that hold graphs: their types come from these. */
const CONTROL_FLOW = ['Loop', 'If'];

describe('training/OPERATORS.md', () => {
  const text = readFileSync(new URL('../../training/OPERATORS.md', import.meta.url), 'utf8');
  const rows = text
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .filter((cells) => cells.length === 7 && /^[A-Z]/.test(cells[1] ?? ''))
    .map(([, operator = '', gradient = '', cpu = '', cuda = '', tfjs = '']) => ({
      operator,
      gradient,
      cpu,
      cuda,
      tfjs,
    }));

  test('lists exactly the operators that the builder knows, each once', () => {
    expect(rows.map(({ operator }) => operator).toSorted()).toEqual([...operatorNames, ...CONTROL_FLOW].toSorted());
  });

  test('says of exactly those without a gradient that they have none', () => {
    const without = rows.filter(({ gradient }) => gradient.startsWith('none')).map(({ operator }) => operator);
    expect(without.toSorted()).toEqual([...Object.keys(operatorsWithoutGradient), ...CONTROL_FLOW].toSorted());
    expect(differentiableOperators).toEqual(expect.arrayContaining(Object.keys(operatorsWithoutGradient)));
  });

  test('names a kernel of both providers and a counterpart in tfjs for each', () => {
    for (const { operator, cpu, cuda, tfjs } of rows) {
      expect(cpu, operator).toBe('yes');
      expect(cuda, operator).toMatch(/^(\d+\+|\d+|\[\d+, \d+\])$/);
      expect(tfjs, operator).not.toBe('');
    }
  });

  test('names kernels that serve opset 18', () => {
    for (const { operator, cuda } of rows) {
      const [from = 0, to = Number.POSITIVE_INFINITY] = (cuda.match(/\d+/g) ?? []).map(Number);
      expect(from, operator).toBeLessThanOrEqual(18);
      expect(cuda === '18' ? 18 : to, operator).toBeGreaterThanOrEqual(18);
    }
  });
});
