// Requests to the server: JSON in, JSON out.

let apiKey = "";

export function setApiKey(key) {
  apiKey = key.trim();
}

/** Returns the reply to a POST, or to a GET if there is no body. Throws an Error with the server's message and `status`. */
export async function send(path, body) {
  const headers = { "content-type": "application/json", ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}) };
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options).catch(() => {
    throw new Error("the server cannot be reached; is it still running?");
  });
  const reply = await response.json().catch(() => ({}));
  if (response.ok) return reply;
  const error = new Error(reply.message ?? reply.error ?? `the server answered ${response.status}`);
  error.status = response.status;
  throw error;
}
