// nDCG, the length of score bars, and the sentences and passages of a text. Pure functions.

/** Returns nDCG@k for document indices in ranked order, null if no document is relevant. Documents without a grade have 0. */
export function ndcg(order, grades, k = 10) {
  const dcg = (values) => values.slice(0, k).reduce((sum, grade, index) => sum + grade / Math.log2(index + 2), 0);
  const idealDcg = dcg([...grades.values()].sort((a, b) => b - a));
  return idealDcg ? dcg(order.map((index) => grades.get(index) ?? 0)) / idealDcg : null;
}

/** Returns the length of a score's bar, from 0 to 1. Other kinds are scaled from the lowest to the highest score. */
export function barLength(score, scores, kind) {
  if (kind === "sigmoid" || kind === "probability") return score;
  const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
  return highest > lowest ? (score - lowest) / (highest - lowest) : 1;
}

/** Returns the begin and end of each sentence. */
export function sentences(text) {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "sentence" });
  const ranges = [...segmenter.segment(text)].map(({ segment, index }) => [index, index + segment.trimEnd().length]);
  return ranges.filter(([begin, end]) => end > begin);
}

/** Returns the begin and end of passages of `size` sentences that overlap by half. A text of at most `size` sentences has none. */
export function passages(sentenceRanges, size = 4) {
  if (sentenceRanges.length <= size) return [];
  const starts = [];
  for (let start = 0; start + size < sentenceRanges.length; start += size / 2) starts.push(start);
  starts.push(sentenceRanges.length - size);
  return [...new Set(starts)].map((start) => [sentenceRanges[start][0], sentenceRanges[start + size - 1][1]]);
}
