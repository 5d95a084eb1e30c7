/** Small helpers over the DOM. Text goes in as text nodes alone, so no text of a node or a person becomes markup. */

/** The element with this id. @throws Error when the page has none: page and script do not belong together. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no element "${id}"`);
  return element as T;
}

interface Parts {
  className?: string;
  text?: string;
  attributes?: Record<string, string | number>;
  /** Properties and variables of the style sheet. The content security policy forbids the attribute `style`. */
  style?: Record<string, string | number>;
  children?: readonly (Node | string)[];
}

/** A new element. */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, parts: Parts = {}): HTMLElementTagNameMap[K] {
  return filled(document.createElement(tag), parts);
}

/** A new SVG element. */
export function makeSvg<K extends keyof SVGElementTagNameMap>(tag: K, parts: Parts = {}): SVGElementTagNameMap[K] {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), parts);
}

function filled<E extends HTMLElement | SVGElement>(element: E, parts: Parts): E {
  const { className, text = '', attributes = {}, style = {}, children = [] } = parts;
  if (className !== undefined) element.setAttribute('class', className);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, String(value));
  element.append(text, ...children);
  return element;
}

/** Sets a text only where it differs: a live region is read out once, and a selection stays. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
