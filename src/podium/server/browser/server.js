// The server, asked: JSON in, JSON out, errors as its own words.

let key = "";

export function useKey(given) {
  key = given.trim();
}

export async function ask(path, body) {
  const headers = { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let reply;
  try {
    reply = await fetch(path, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Error("the server cannot be reached; is it still running?");
  }
  const said = await reply.json().catch(() => ({}));
  if (reply.ok) return said;
  const failed = new Error(said.message ?? said.error ?? `the server answered ${reply.status}`);
  failed.status = reply.status;
  throw failed;
}
