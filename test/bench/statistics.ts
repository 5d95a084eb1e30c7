/** Statistics of repeated measurements. Pure: the same values give the same results. */

/** Samples of the bootstrap. More of them change the bounds of an interval by less than the page shows. */
const SAMPLES = 10_000;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** The smallest value that `part` (0 to 1) of all values do not exceed (nearest rank). NaN for no values. */
export function quantile(values: readonly number[], part: number): number {
  return quantileOfSorted(Float64Array.from(values).sort(), part);
}

/** Middle value; of an even number of values the mean of the two in the middle. NaN for no values. */
export function median(values: readonly number[]): number {
  return medianOfSorted(Float64Array.from(values).sort());
}

/**
 * 95 % interval of the median by the percentile bootstrap: medians of samples of the same size, drawn with replacement
 * (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). The draws follow from a fixed seed.
 */
export function medianInterval(values: readonly number[]): Interval {
  const draw = medianOfDraws(values, generator(1));
  return middleOf(Float64Array.from({ length: SAMPLES }, draw));
}

/**
 * 95 % interval of the difference of two medians, `b` less `a`, by the percentile bootstrap: both are drawn anew, each
 * of itself, because their values are not pairs.
 */
export function differenceInterval(a: readonly number[], b: readonly number[]): Interval {
  const random = generator(1);
  const [drawA, drawB] = [medianOfDraws(a, random), medianOfDraws(b, random)];
  return middleOf(Float64Array.from({ length: SAMPLES }, () => drawB() - drawA()));
}

/** Each call draws as many of the values as there are, with replacement, and returns the median of the draw. */
function medianOfDraws(values: readonly number[], random: () => number): () => number {
  const sample = new Float64Array(values.length);
  return () => {
    for (let i = 0; i < sample.length; i++) sample[i] = values[Math.floor(random() * values.length)] ?? Number.NaN;
    return medianOfSorted(sample.sort());
  };
}

/** The interval that holds 95 % of the samples. It sorts them. */
function middleOf(samples: Float64Array): Interval {
  const sorted = samples.sort();
  return { low: quantileOfSorted(sorted, 0.025), high: quantileOfSorted(sorted, 0.975) };
}

function quantileOfSorted(sorted: Float64Array, part: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}

function medianOfSorted(sorted: Float64Array): number {
  const middle = sorted.length / 2;
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}

/** Numbers from 0 to 1 that follow from the seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
