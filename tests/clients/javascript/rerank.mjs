// Rerank with one JavaScript client: node rerank.mjs CLIENT BASE_URL KEY < {"query", "texts"}
// Print [[index, score], …] in the client's order, best first.
import { readFileSync } from "node:fs";

const model = "podium-mini";
const [client, base, key] = process.argv.slice(2);
const { query, texts } = JSON.parse(readFileSync(0, "utf8"));

async function vercel(packageName, factory, baseURL) {
  const { rerank } = await import("ai");
  const provider = (await import(packageName))[factory]({ baseURL, apiKey: key });
  const { ranking } = await rerank({ model: provider.reranking(model), query, documents: texts });
  return ranking.map((result) => [result.originalIndex, result.score]);
}

const clients = {
  "cohere-ai v2": async () => {
    const { CohereClientV2 } = await import("cohere-ai");
    const { results } = await new CohereClientV2({ environment: base, token: key }).rerank({ model, query, documents: texts });
    return results.map((result) => [result.index, result.relevanceScore]);
  },
  "cohere-ai v1": async () => {
    const { CohereClient } = await import("cohere-ai");
    const cohere = new CohereClient({ environment: base, token: key });
    const { results } = await cohere.rerank({ model, query, documents: texts.map((text) => ({ text })), returnDocuments: true });
    for (const result of results) if (result.document.text !== texts[result.index]) throw new Error("the document is not the one at its index");
    return results.map((result) => [result.index, result.relevanceScore]);
  },
  "cohere-ai checkApiKey": async () => {
    const { CohereClient } = await import("cohere-ai");
    const { valid } = await new CohereClient({ environment: base, token: key }).checkApiKey();
    return valid;
  },
  voyageai: async () => {
    const { VoyageAIClient } = await import("voyageai");
    const { data } = await new VoyageAIClient({ environment: `${base}/v1`, apiKey: key }).rerank({ model, query, documents: texts });
    return data.map((result) => [result.index, result.relevanceScore]);
  },
  "@ai-sdk/cohere": () => vercel("@ai-sdk/cohere", "createCohere", `${base}/v2`),
  "@ai-sdk/togetherai": () => vercel("@ai-sdk/togetherai", "createTogetherAI", `${base}/v1`),
  "voyage-ai-provider": () => vercel("voyage-ai-provider", "createVoyage", `${base}/v1`),
  "together-ai": async () => {
    const { default: Together } = await import("together-ai");
    const { results } = await new Together({ baseURL: `${base}/v1`, apiKey: key }).rerank.create({ model, query, documents: texts });
    return results.map((result) => [result.index, result.relevance_score]);
  },
  "@pinecone-database/pinecone": async () => {
    const { Pinecone } = await import("@pinecone-database/pinecone");
    const { data } = await new Pinecone({ apiKey: key, controllerHostUrl: base }).inference.rerank({ model, query, documents: texts });
    for (const result of data) if (result.document.text !== texts[result.index]) throw new Error("the document is not the one at its index");
    return data.map((result) => [result.index, result.score]);
  },
  "@mixedbread/sdk": async () => {
    const { Mixedbread } = await import("@mixedbread/sdk");
    const { data } = await new Mixedbread({ baseURL: base, apiKey: key }).rerank({ model, query, input: texts, return_input: true });
    for (const result of data) if (result.input !== texts[result.index]) throw new Error("the document is not the one at its index");
    return data.map((result) => [result.index, result.score]);
  },
  "@langchain/cohere": async () => {
    const { CohereRerank } = await import("@langchain/cohere");
    const { CohereClient } = await import("cohere-ai");
    const reranker = new CohereRerank({ client: new CohereClient({ environment: base, token: key }), model });
    const results = await reranker.rerank(texts, query, { topN: texts.length });
    return results.map((result) => [result.index, result.relevanceScore]);
  },
  "@llamaindex/cohere": async () => {
    const { CohereRerank } = await import("@llamaindex/cohere");
    const { TextNode } = await import("llamaindex");
    const reranker = new CohereRerank({ baseUrl: base, apiKey: key, model, topN: texts.length });
    const nodes = texts.map((text, index) => ({ node: new TextNode({ text, id_: String(index) }), score: 0 }));
    const results = await reranker.postprocessNodes(nodes, query);
    return results.map(({ node, score }) => [Number(node.id_), score]);
  },
};

console.log(JSON.stringify(await clients[client]()));
process.exit(0); // some clients keep connections open
