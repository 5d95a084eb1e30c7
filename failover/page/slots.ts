/** The part of the page about replication slots that people made. */
import { createElement as h, type JSXNode } from 'hono/jsx/dom';
import type { ClusterStatus } from '../contract/api';
import { slotWords } from '../contract/slot-words';
import { bytes } from './format';

/** The lines of the section; none while there is neither a slot nor a gap. */
export function slotsOf({ clientSlots, leader, nodes }: ClusterStatus): JSXNode[] {
  if (clientSlots === undefined) return [];
  const lsn = nodes.find(({ name }) => name === leader)?.lsn ?? null;
  const { slots, bad } = slotWords(clientSlots, lsn, bytes);
  return [
    ...slots.map(({ name, words, isBad }) =>
      h(
        'p',
        null,
        h('span', { class: 'label' }, name),
        ' ',
        h('span', { id: `slot-${name}`, class: isBad ? 'bad' : undefined }, words),
      ),
    ),
    ...(clientSlots.more === true ? [h('p', null, 'There are more slots than are shown.')] : []),
    ...bad.map((words) => h('p', { class: 'panel bad', role: 'alert' }, words)),
  ];
}
