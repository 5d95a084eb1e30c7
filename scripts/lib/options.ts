/** Options of the commands. */

/** A whole number within bounds. @throws Error that names the option, its value and what is allowed. */
export function wholeNumber(option: string, value: string, min: number, max: number): number {
  const number = Number(value);
  if (value.trim() !== '' && Number.isInteger(number) && number >= min && number <= max) return number;
  throw new Error(`--${option} ${value}: allowed is a whole number from ${min} to ${max}`);
}

/** Names of a list, separated by commas; all of them when there is none. @throws Error that names what is allowed. */
export function someOf(option: string, value: string | null, allowed: readonly string[]): string[] {
  const names = value?.split(',') ?? [...allowed];
  const unknown = names.filter((name) => !allowed.includes(name));
  if (unknown.length === 0) return names;
  throw new Error(`--${option} ${unknown.join(',')}: allowed are ${allowed.join(', ')}`);
}
