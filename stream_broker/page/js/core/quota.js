// What is left of a person's quota. Pure.

const SPANS = { day: "today", month: "this month" };

/** One row for each limit of requests and tokens, and of streams where there is any such: `{unit, when, left, limit, resetsAt}`. */
export function rowsOf(quota) {
  const rows = [];
  for (const unit of ["requests", "tokens"]) {
    for (const [span, when] of Object.entries(SPANS)) {
      const { limit, taken, resets_at: resetsAt } = quota?.[unit]?.[span] ?? {};
      if (typeof limit === "number") rows.push({ unit, when, left: Math.max(0, limit - taken), limit, resetsAt });
    }
  }
  const { limit, in_use: inUse } = quota?.streams ?? {};
  if (rows.length && typeof limit === "number") {
    rows.push({ unit: "streams", when: "at once", left: Math.max(0, limit - inUse), limit, resetsAt: null });
  }
  return rows;
}

/** The row of which the smallest share is left: that which a person should know of. */
export function scarcest(rows) {
  const share = ({ left, limit }) => (limit ? left / limit : 0);
  return rows.filter((row) => row.resetsAt !== null).reduce((a, b) => (share(b) < share(a) ? b : a));
}
