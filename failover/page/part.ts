import { createElement, type JSXNode, memo } from 'hono/jsx/dom';

/** Makes a part of the page that may have a state of its own, and is drawn anew only when it gets another value. */
export function part<T>(draw: (shown: T) => JSXNode): (shown: T) => JSXNode {
  const Part = memo(({ shown }: { shown: T }) => draw(shown) as never) as never;
  return (shown) => createElement(Part, { shown });
}
