import util from 'node:util';

/**
 * Gives `node:util` the two functions back that tfjs-node 4.22 calls: Node 22 warns of them as deprecated and Node 23
 * removed them. They mean what they always meant, so that nothing else in the process can tell the difference.
 */
export function restoreRemovedUtilities(): void {
  define('isArray', Array.isArray);
  define('isNullOrUndefined', (value: unknown) => value === null || value === undefined);
}

function define(name: string, value: (argument: unknown) => boolean): void {
  Object.defineProperty(util, name, { value, configurable: true, enumerable: true, writable: true });
}
