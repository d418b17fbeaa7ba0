/**
 * Which share of the nearest points of each point of a plane has its class.
 * @param points x, y of each in turn
 * @returns 0 to 1
 */
export function sameClassNeighbours(points: ArrayLike<number>, labels: ArrayLike<number>, neighbours: number): number {
  const count = labels.length;
  let same = 0;
  for (let i = 0; i < count; i++) {
    const nearest: { distance: number; label: number }[] = [];
    for (let j = 0; j < count; j++) {
      if (j === i) continue;
      const distance =
        ((points[2 * i] ?? 0) - (points[2 * j] ?? 0)) ** 2 + ((points[2 * i + 1] ?? 0) - (points[2 * j + 1] ?? 0)) ** 2;
      if (nearest.length === neighbours && distance >= (nearest[neighbours - 1]?.distance ?? 0)) continue;
      const at = nearest.findIndex((known) => known.distance > distance);
      nearest.splice(at === -1 ? nearest.length : at, 0, { distance, label: labels[j] ?? -1 });
      nearest.length = Math.min(nearest.length, neighbours);
    }
    same += nearest.filter(({ label }) => label === labels[i]).length / neighbours;
  }
  return same / count;
}
