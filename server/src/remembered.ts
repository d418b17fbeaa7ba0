import { RecentMap } from './recent-map.js';

/** Headers whose results are kept: clients send few different ones. */
const MOST = 100;

/** A function of a header's text that remembers what it gave, other than undefined, for those that came last. */
export function remembered<Result>(work: (header: string) => Result): (header: string) => Result {
  const results = new RecentMap<string, Result>(MOST);
  return (header) => {
    const known = results.get(header);
    if (known !== undefined) return known;
    const result = work(header);
    if (result !== undefined) results.set(header, result);
    return result;
  };
}
