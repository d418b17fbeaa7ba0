import type { Condition } from './manifest.js';

/** How far from 1 rounded shares may add up to. */
const SUM_TOLERANCE = 1e-4;

/** A text that is the number of a class. */
const CLASS_NUMBER = /^(?:0|[1-9][0-9]*)$/;

/**
 * The class that a label stands for: a number is a class's number, a string a class's name.
 * @returns undefined where no class is called so
 */
export function classOf({ classes, names }: Condition, label: number | string): number | undefined {
  if (typeof label === 'number') return Number.isInteger(label) && label >= 0 && label < classes ? label : undefined;
  const index = names?.indexOf(label) ?? -1;
  return index === -1 ? undefined : index;
}

/**
 * The same for a text that is either, as from a query or a command line.
 * @returns undefined where no class is called so
 */
export function classOfText(condition: Condition, text: string): number | undefined {
  return classOf(condition, text) ?? (CLASS_NUMBER.test(text) ? classOf(condition, Number(text)) : undefined);
}

/** Says what is wrong with a condition, the field and what was expected there; undefined where nothing is. */
export function conditionProblem({ classes, frequencies, names }: Condition): string | undefined {
  if (frequencies.length !== classes) {
    return `condition.frequencies has ${frequencies.length} numbers; expected condition.classes = ${classes}`;
  }
  const sum = frequencies.reduce((total, share) => total + share, 0);
  if (!(Math.abs(sum - 1) <= SUM_TOLERANCE)) return `condition.frequencies has the sum ${sum}; expected 1`;
  if (names === undefined) return undefined;
  if (names.length !== classes) {
    return `condition.names has ${names.length} names; expected condition.classes = ${classes}`;
  }
  for (const [i, name] of names.entries()) {
    const quoted = JSON.stringify(name);
    if (names.indexOf(name) !== i) return `condition.names has ${quoted} twice; expected names that differ`;
    // Else a text could mean either class.
    if (CLASS_NUMBER.test(name) && Number(name) !== i && Number(name) < classes) {
      return `condition.names calls class ${i} ${quoted}, which is the number of another class; expected a name that is not`;
    }
  }
  return undefined;
}
