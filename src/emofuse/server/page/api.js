// Asking the service. Every failure is a Trouble with a code and one line for people.

export class Trouble extends Error {
  constructor(code, message, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

let key = "";
export function useKey(value) { key = value.trim(); }
export function keyInUse() { return key; }

async function ask(path, body) {
  const headers = key ? { "X-API-Key": key } : {};
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", body, headers, cache: "no-store" });
  } catch {
    throw new Trouble("lost", "The service cannot be reached. Is it still running?");
  }
  if (answer.ok) return answer.json();
  let note = { code: "internal", message: `The service answered ${answer.status}.` };
  try { note = (await answer.json()).error; } catch { /* not ours: a proxy's page */ }
  throw new Trouble(note.code, note.message, Number(answer.headers.get("Retry-After")) || 0);
}

export function models() { return ask("/v1/models"); }

function form(sound, fields) {
  const body = new FormData();
  if (sound) body.append("file", sound, "sound");
  for (const [name, value] of Object.entries(fields)) if (value) body.append(name, value);
  return body;
}

export function recognise(sound, text) { return ask("/v1/recognize", form(sound, { text })); }
export function timeline(sound) { return ask("/v1/timeline", form(sound, {})); }
