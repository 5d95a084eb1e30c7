/** Line charts as inline SVG: a few series over the same times, the newest at the right. */
import { createElement as h, type JSXNode } from 'hono/jsx/dom';
import type { Sample } from '../contract/api';
import { clock } from './format';

const WIDTH = 400;
const HEIGHT = 110;
const LEFT = 52;
const BOTTOM = 16;
const TOP = 8;
/** Colours that tell series and steps apart. */
const COLOURS = [
  'var(--accent)',
  'light-dark(#8250df, #ab7df8)',
  'var(--good)',
  'light-dark(#bc4c00, #db6d28)',
  'light-dark(#bf3989, #db61a2)',
];

interface Series {
  name: string;
  /** One value a sample; null: a gap. */
  values: readonly (number | null)[];
}

/** The colour of the i-th series or step. */
export const colourOf = (i: number): { color: string } => ({ color: COLOURS[i % COLOURS.length] ?? '' });

/** A dot in the i-th colour with the text that it stands for. */
export function keyEntry(i: number, text: string): JSXNode {
  return h('span', null, h('span', { style: colourOf(i), 'aria-hidden': 'true' }, '● '), text);
}

/** Draws the series, and says in words what the drawing shows. */
export function chart(
  samples: readonly Sample[],
  series: readonly Series[],
  unit: (value: number) => string,
): JSXNode[] {
  const all = series.flatMap((s) => s.values.filter((v) => v !== null));
  const [first, last] = [samples[0], samples.at(-1)];
  if (all.length === 0 || first === undefined || last === undefined) return [h('p', null, 'Nothing measured yet.')];
  const top = niceTop(Math.max(...all));
  const x = (i: number) => LEFT + ((WIDTH - LEFT) * i) / Math.max(1, samples.length - 1);
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const newest = series.map(({ name, values }) => {
    const value = values.at(-1) ?? null;
    return { name, value: value === null ? 'not known' : unit(value) };
  });
  const words = newest.map(({ name, value }) => `${name}: ${value}`).join('; ');
  return [
    h(
      'svg',
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': words },
      ...[0, top].flatMap((value) => [
        h('line', { class: 'axis', x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
        label(LEFT - 6, y(value) + 4, unit(value), 'end'),
      ]),
      label(LEFT, HEIGHT - 3, clock(first.at), 'start'),
      label(WIDTH, HEIGHT - 3, clock(last.at), 'end'),
      ...series.map(({ values }, i) => h('path', { style: colourOf(i), d: pathOf(values, x, y) })),
    ),
    h('p', { class: 'legend', 'aria-hidden': 'true' }, ...newest.map((n, i) => keyEntry(i, `${n.name} ${n.value}`))),
  ];
}

/** 1, 2 or 5 times a power of ten, not less than the value. */
function niceTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value) ?? value;
}

function label(x: number, y: number, text: string, anchor: 'start' | 'end'): JSXNode {
  return h('text', { x, y, 'text-anchor': anchor }, text);
}

function pathOf(values: readonly (number | null)[], x: (i: number) => number, y: (value: number) => number): string {
  const points = values.map((value, i) => {
    if (value === null) return '';
    const pen = (values[i - 1] ?? null) === null ? 'M' : 'L';
    return `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  return points.join('');
}
