/** The lines of the page about a restore in place. */
import { createElement as h, type JSXNode } from 'hono/jsx/dom';
import type { ClusterStatus } from '../contract/api';
import { restoreWords } from '../contract/restore-words';
import { bytes } from './format';

export function restoreLines(restore: ClusterStatus['restore']): JSXNode[] {
  return restoreWords(restore, bytes).map((words) => h('p', { class: 'panel', role: 'status' }, words));
}
