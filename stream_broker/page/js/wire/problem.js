// What went wrong with a request, in the words of RFC 9457.

const WORTH_REPEATING = new Set([408, 425, 429]);

export class Problem extends Error {
  constructor({ status, code, message, field = null, retryAfterMs = null }) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.retryAfterMs = retryAfterMs;
  }

  /** No answer came: the network, a proxy or the page's own time limit. */
  get unanswered() {
    return this.status === 0;
  }

  get retryable() {
    return mayPass(this.status);
  }
}

/** Whether the same request may well succeed later. */
export function mayPass(status) {
  return status === 0 || status >= 500 || WORTH_REPEATING.has(status);
}

export function unanswered(error) {
  const message = error?.name === "AbortError" ? "The server did not answer in time." : "The server cannot be reached.";
  return new Problem({ status: 0, code: "unreachable", message });
}

export async function problemOf(response, now = Date.now()) {
  const body = await response.json().catch(() => ({}));
  // The ingress itself and the OpenAI-shaped paths do not speak problem+json.
  const told = typeof body?.error === "object" && body.error ? body.error : (body ?? {});
  return new Problem({
    status: response.status,
    code: String(told.code ?? `http_${response.status}`),
    message: String(told.detail ?? told.message ?? told.title ?? `The server answered ${response.status}.`),
    field: told.field ?? null,
    retryAfterMs: retryAfter(response.headers.get("Retry-After"), now),
  });
}

/** Retry-After (seconds or an HTTP date) in ms; null where there is none. */
export function retryAfter(value, now) {
  if (!value) return null;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}
