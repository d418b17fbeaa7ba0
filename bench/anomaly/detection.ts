/**
 * Area under the receiver operating characteristic: how probably an anomalous example has a higher score than a normal one,
 * ties counting half (Mann-Whitney).
 */
export function areaUnderRoc(normal: Float32Array, anomalous: Float32Array): number {
  const sorted = normal.slice().sort();
  let wins = 0;
  for (const score of anomalous) wins += (countBelow(sorted, score, false) + countBelow(sorted, score, true)) / 2;
  return wins / (normal.length * anomalous.length);
}

/** How many of the sorted values are less than a value, or no more than it. */
function countBelow(sorted: Float32Array, value: number, orEqual: boolean): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value || (orEqual && sorted[middle] === value)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * How many of `count` new normal examples a conformal threshold calls anomalous in 99 of 100 calibrations. The threshold is
 * the k-th largest of n held-out scores, so that the rate is Beta(k, n + 1 − k) and the number beta-binomial.
 * @param k floor(rate · (n + 1))
 */
export function falseAlarmInterval(k: number, n: number, count: number): [number, number] {
  const beta = n + 1 - k;
  let logMass = logBeta(k, count + beta) - logBeta(k, beta);
  let cumulated = 0;
  let low: number | undefined;
  for (let alarms = 0; alarms <= count; alarms++) {
    cumulated += Math.exp(logMass);
    if (low === undefined && cumulated > 0.005) low = alarms;
    if (cumulated >= 0.995) return [low ?? 0, alarms];
    logMass +=
      Math.log(count - alarms) - Math.log(alarms + 1) + Math.log(k + alarms) - Math.log(count - alarms - 1 + beta);
  }
  return [low ?? 0, count];
}

function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** Stirling's series after a shift to large arguments. */
function logGamma(x: number): number {
  let [shift, y] = [0, x];
  for (; y < 10; y++) shift += Math.log(y);
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * y) - 1 / (360 * y ** 3) - shift;
}
