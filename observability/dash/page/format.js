// Numbers and times as people read them.

const PREFIXES = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
const BINARY = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];

const short = (value) => {
  const [size, prefix] = PREFIXES.find(([least]) => Math.abs(value) >= least) ?? [1, ""];
  const scaled = value / size;
  const digits = Math.abs(scaled) >= 100 || Number.isInteger(scaled) ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return scaled.toFixed(digits) + prefix;
};

const seconds = (value) => {
  if (value === 0) return "0 s";
  if (value >= 10) return `${value.toFixed(0)} s`;
  if (value >= 1) return `${value.toFixed(2)} s`;
  if (value >= 0.001) return `${(value * 1000).toFixed(value >= 0.01 ? 0 : 1)} ms`;
  return `${(value * 1e6).toFixed(0)} µs`;
};

const bytes = (value) => {
  const [size, unit] = BINARY.find(([least]) => value >= least) ?? [1, "B"];
  return `${short(value / size)} ${unit}`;
};

/** A figure with its unit, by the names of observability/boards/model.py; "–" for none. */
export function figure(value, unit) {
  if (value === null || value === undefined) return "–";
  switch (unit) {
    case "s": return seconds(value);
    case "percentunit": return `${(value * 100).toFixed(value > 0.99 && value < 1 ? 2 : 1)} %`;
    case "bytes": return bytes(value);
    case "Bps": return `${bytes(value)}/s`;
    case "ops": return `${short(value)}/s`;
    case "bool": return value >= 1 ? "yes" : "no";
    default: return short(value);
  }
}

/** The hour of a Unix time, with seconds where the span is short. */
export function clock(at, minutes) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (minutes <= 15) options.second = "2-digit";
  return new Date(at * 1000).toLocaleTimeString([], options);
}

/** Where a figure stands; where less is worse `bad` is below `warn`. */
export function level(value, levels) {
  if (value === null || value === undefined || !levels) return "unknown";
  const { warn, bad } = levels;
  if (bad >= warn) return value >= bad ? "bad" : value >= warn ? "warn" : "good";
  return value < bad ? "bad" : value < warn ? "warn" : "good";
}
