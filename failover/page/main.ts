/** The status page: what the monitor tells, and the dialog of a command that a person has begun. */
import { createElement as h, render, useLayoutEffect, useState } from 'hono/jsx/dom';
import { dialogOf, type Question } from './commands';
import { listen, NOTHING_SEEN } from './live';
import { pageOf } from './sections';

function App() {
  const [seen, setSeen] = useState(NOTHING_SEEN);
  const [question, setQuestion] = useState<Question | null>(null);
  useLayoutEffect(() => listen(setSeen), []);
  const dialog = question && dialogOf({ question, close: () => setQuestion(null) });
  return h('div', null, ...pageOf(seen, setQuestion), dialog);
}

render(h(App, null), document.body);
