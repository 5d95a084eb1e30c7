/** Numbers and times as people read them. */

export function bytes(n: number): string {
  if (n < 1_000) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 10_000 ? 1 : 0)} kB`;
  return n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(1)} GB`;
}

export function milliseconds(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** `14:03:07`, with the date in front when it is not today's. */
export function clock(iso: string): string {
  const at = new Date(iso);
  const time = at.toLocaleTimeString('en-GB');
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString('en-CA')} ${time}`;
}

/** How long ago, roughly: `4 s`, `12 min`, `3 h`, `2 days`. */
export function ago(iso: string): string {
  return span(Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1_000)));
}

/** A time in seconds, roughly, in the same words. */
export function span(exact: number): string {
  const seconds = Math.round(exact);
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 6_000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
