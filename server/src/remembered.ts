/** Headers whose results are kept; clients send few different ones, and hostile ones must not fill the memory. */
const MOST = 100;

/** A function of a header's text that remembers what it gave for those that came before. It must not throw for what it is to remember. */
export function remembered<Result>(work: (header: string) => Result): (header: string) => Result {
  const results = new Map<string, Result>();
  return (header) => {
    const known = results.get(header);
    if (known !== undefined) return known;
    const result = work(header);
    if (results.size >= MOST) results.clear();
    results.set(header, result);
    return result;
  };
}
