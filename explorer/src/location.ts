import { signal } from '@preact/signals';

/** What the address says: all state that a link or the back button brings back. */
const query = signal(new URLSearchParams(location.search));

addEventListener('popstate', () => {
  query.value = new URLSearchParams(location.search);
});

export type Changes = Readonly<Record<string, string | number | undefined>>;

/** A parameter of the address; components that read it follow it. */
export function parameter(name: string): string | undefined {
  return query.value.get(name) ?? undefined;
}

/** A number in the address, or `otherwise` where it is none or outside of the range. */
export function numericParameter(name: string, otherwise: number, low: number, high: number): number {
  const text = parameter(name);
  const value = Number(text);
  return text === undefined || text === '' || !(value >= low && value <= high) ? otherwise : value;
}

/** A whole number in the address, or `otherwise`. */
export function wholeParameter(name: string, otherwise: number, low: number, high: number): number {
  const value = numericParameter(name, otherwise, low, high);
  return Number.isInteger(value) ? value : otherwise;
}

/** One of these in the address, else the first. */
export function choiceParameter<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
  const value = parameter(name);
  return choices.find((choice) => choice === value) ?? choices[0];
}

/** The address with these changes; undefined takes a parameter out. */
export function addressWith(changes: Changes, base: URLSearchParams = query.value): string {
  const next = new URLSearchParams(base);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) next.delete(name);
    else next.set(name, String(value));
  }
  // Readable in an address, where a query may have them.
  const text = next.toString().replaceAll('%3A', ':').replaceAll('%2C', ',');
  return `${location.pathname}${text === '' ? '' : `?${text}`}`;
}

/** A link's address that keeps the model and nothing else. */
export function addressOf(changes: Changes): string {
  const kept = new URLSearchParams();
  for (const name of ['model', 'version']) {
    const value = query.value.get(name);
    if (value !== null) kept.set(name, value);
  }
  return addressWith(changes, kept);
}

/** Browsers refuse more than a few hundred changes of the address in half a minute. */
const WRITE_EVERY_MS = 300;
let waiting: ReturnType<typeof setTimeout> | undefined;

function write(): void {
  waiting = undefined;
  history.replaceState(null, '', addressWith({}));
}

/** A step that the back button takes back. */
export function go(changes: Changes): void {
  goTo(addressWith(changes));
}

/** Follows a link inside the page. */
export function goTo(address: string): void {
  if (waiting !== undefined) {
    clearTimeout(waiting);
    write();
  }
  if (address === `${location.pathname}${location.search}`) return;
  history.pushState(null, '', address);
  query.value = new URLSearchParams(location.search);
}

/** A change that is no step of its own, such as each of a slider's. */
export function adjust(changes: Changes): void {
  query.value = new URLSearchParams(addressWith(changes).split('?')[1] ?? '');
  waiting ??= setTimeout(write, WRITE_EVERY_MS);
}

addEventListener('pagehide', () => {
  if (waiting !== undefined) write();
});
