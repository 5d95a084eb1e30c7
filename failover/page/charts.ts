/** Line charts as inline SVG: a few series over the same times, the newest at the right. */
import type { Sample } from '../contract/api';
import { make, makeSvg } from './dom';
import { clock } from './format';

const WIDTH = 400;
const HEIGHT = 110;
const LEFT = 52;
const BOTTOM = 16;
const TOP = 8;
/** Colours of the style sheet. */
const COLOURS = 5;

export interface Series {
  name: string;
  /** One value a sample; null: a gap. */
  values: readonly (number | null)[];
}

export const colourOf = (index: number): number => (index % COLOURS) + 1;

/** Draws into `place`, and says in words what it shows. */
export function draw(
  place: HTMLElement,
  samples: readonly Sample[],
  series: readonly Series[],
  unit: (value: number) => string,
): void {
  const all = series.flatMap((s) => s.values.filter((v) => v !== null));
  const [first, last] = [samples[0], samples.at(-1)];
  if (all.length === 0 || first === undefined || last === undefined) {
    place.replaceChildren(make('p', { text: 'Nothing measured yet.' }));
    return;
  }
  const top = niceTop(Math.max(...all));
  const x = (i: number) => LEFT + ((WIDTH - LEFT) * i) / Math.max(1, samples.length - 1);
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const said = series.map((s) => `${s.name}: ${spoken(s, unit)}`).join('; ');
  const svg = makeSvg('svg', {
    attributes: { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': said },
    children: [
      ...[0, top].flatMap((value) => gridLine(y(value), unit(value))),
      label(LEFT, HEIGHT - 3, clock(first.at), 'start'),
      label(WIDTH, HEIGHT - 3, clock(last.at), 'end'),
      ...series.map((s, i) =>
        makeSvg('path', { className: `series series-${colourOf(i)}`, attributes: { d: pathOf(s.values, x, y) } }),
      ),
    ],
  });
  place.replaceChildren(svg, legend(series, unit));
}

/** 1, 2 or 5 times a power of ten, not less than the value. */
function niceTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value) ?? value;
}

function gridLine(y: number, text: string): SVGElement[] {
  const attributes = { x1: String(LEFT), x2: String(WIDTH), y1: String(y), y2: String(y) };
  return [makeSvg('line', { className: 'axis', attributes }), label(LEFT - 6, y + 4, text, 'end')];
}

function label(x: number, y: number, text: string, anchor: 'start' | 'end'): SVGElement {
  return makeSvg('text', { text, attributes: { x: String(x), y: String(y), 'text-anchor': anchor } });
}

function pathOf(values: readonly (number | null)[], x: (i: number) => number, y: (value: number) => number): string {
  let pen = 'M';
  return values
    .map((value, i) => {
      const part = value === null ? '' : `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = value === null ? 'M' : 'L';
      return part;
    })
    .join('');
}

const newest = (s: Series): number | null => s.values.at(-1) ?? null;

function spoken(s: Series, unit: (value: number) => string): string {
  const value = newest(s);
  return value === null ? 'not known' : unit(value);
}

function legend(series: readonly Series[], unit: (value: number) => string): HTMLElement {
  const entries = series.map((s, i) => {
    const line = makeSvg('path', { className: `series series-${colourOf(i)}`, attributes: { d: 'M0 5H20' } });
    const key = makeSvg('svg', { attributes: { viewBox: '0 0 20 10', 'aria-hidden': 'true' }, children: [line] });
    return make('span', { children: [key, document.createTextNode(`${s.name} ${spoken(s, unit)}`)] });
  });
  return make('p', { className: 'legend', attributes: { 'aria-hidden': 'true' }, children: entries });
}
