// nDCG, and the length of score bars. Pure functions.

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
