// What the page holds: the server's models, and the last request with its rankings and judgements.

export const state = {
  models: [], // as /v1/models lists them
  request: null, // query, documents and rank_by of the last request
  rankings: [], // one per reranker: the reply of /rank with the reranker's name, or { name, error }
  texts: [], // of each document, as the server read it
  grades: new Map(), // index of a document → 1 for relevant, 0 for not relevant
};
