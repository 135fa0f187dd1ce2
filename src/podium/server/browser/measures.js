// Numbers that are shown beside a ranking. Pure.

/** nDCG@k of an order of documents' places, by judgements (place → grade). Unjudged counts as not relevant; null: nothing relevant. */
export function ndcg(order, judged, k = 10) {
  const gain = (grades) => grades.slice(0, k).reduce((sum, grade, at) => sum + grade / Math.log2(at + 2), 0);
  const ideal = gain([...judged.values()].sort((a, b) => b - a));
  return ideal ? gain(order.map((place) => judged.get(place) ?? 0)) / ideal : null;
}

/** How long a bar is, from 0 to 1: a score between 0 and 1 as it is, others between the lowest and the highest of the list. */
export function bar(score, scores, kind) {
  if (kind === "sigmoid" || kind === "probability") return score;
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  return high > low ? (score - low) / (high - low) : 1;
}

/** A text's sentences: where each begins and ends. */
export function sentences(text) {
  const cut = new Intl.Segmenter(undefined, { granularity: "sentence" });
  return [...cut.segment(text)].map(({ segment, index }) => [index, index + segment.trimEnd().length]).filter(([a, b]) => b > a);
}

/** Passages: up to `size` sentences in a row, each beginning where half of the one before is over. */
export function passages(found, size = 4) {
  if (found.length <= size) return [];
  const starts = [];
  for (let at = 0; at + size < found.length; at += size / 2) starts.push(at);
  starts.push(found.length - size);
  return [...new Set(starts)].map((at) => [found[at][0], found[at + size - 1][1]]);
}
