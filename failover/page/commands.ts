/**
 * Commands: the person answers a question in a dialog, which first shows what will happen (the API's `dryRun`), and
 * confirms it. The token stays in this tab's session storage; it is the stack's secret output `adminToken`.
 */
import { createElement as h, type JSXNode, useLayoutEffect, useRef, useState } from 'hono/jsx/dom';
import type { Answer, ClusterStatus, Command } from '../contract/api';
import { part } from './part';

const TOKEN_KEY = 'adminToken';
/** Longer than a switchover may take, ms. */
const LIMIT_MS = 100_000;

type Body = Record<string, unknown>;

type Values = Record<string, string | undefined>;

export interface Question {
  command: Command;
  title: string;
  fields?: () => JSXNode[];
  /** `values`: those that are not empty, by the names of their fields. */
  bodyOf: (values: Values) => Body;
}

function field(
  label: string,
  attributes: Body,
  options?: readonly (readonly [value: string, text: string])[],
): JSXNode {
  const choices = options?.map(([value, text]) => h('option', { value }, text)) ?? [];
  const kind = options === undefined ? 'input' : 'select';
  return h('label', null, label, h(kind, { autocomplete: 'off', ...attributes }, ...choices));
}

function tokenField(): JSXNode {
  const how = 'Token: npm run pulumi -- stack output adminToken --show-secrets';
  return field(how, { name: 'token', type: 'password', spellcheck: 'false', required: true });
}

export function switchover(cluster: ClusterStatus | null): Question {
  const others = cluster?.nodes.filter((n) => n.role !== 'leader').map(({ name }) => [name, name] as const) ?? [];
  return {
    command: 'switchover',
    title: 'Planned switchover',
    fields: () => [field('New leader', { name: 'to' }, [['', 'whichever can take over'], ...others])],
    bodyOf: ({ to }) => ({ to }),
  };
}

const PAUSES = [
  ['', 'until a person resumes'],
  ['900000', '15 minutes'],
  ['3600000', '1 hour'],
  ['14400000', '4 hours'],
] as const;

export const PAUSE: Question = {
  command: 'pause',
  title: 'Pause automatic failover',
  fields: () => [
    field('Reason, for those who find it paused', { name: 'reason', maxlength: 200, required: true }),
    field('How long', { name: 'forMs' }, PAUSES),
  ],
  bodyOf: ({ reason, forMs }) => ({ reason, forMs: forMs === undefined ? undefined : Number(forMs) }),
};

export const RESUME: Question = { command: 'resume', title: 'Resume automatic failover', bodyOf: () => ({}) };

export function rebuild(node: string): Question {
  return { command: 'rebuild', title: `Rebuild ${node}`, bodyOf: () => ({ node }) };
}

interface Progress {
  step: 'asks' | 'waits' | 'confirms' | 'done';
  /** What the monitor has answered, or what it is asked. */
  words: string;
  isBad?: boolean;
  /** The body that the monitor has judged and the person has to confirm. */
  judged?: Body;
}

/** The dialog of one command. The browser gives the focus back to the button when it is closed. */
export const dialogOf = part(({ question, close }: { question: Question; close: () => void }) => {
  const [{ step, words, isBad, judged }, setProgress] = useState<Progress>({ step: 'asks', words: '' });
  const [needsToken, setNeedsToken] = useState(sessionStorage.getItem(TOKEN_KEY) === null);
  const dialog = useRef<HTMLDialogElement>(null);
  const go = useRef<HTMLButtonElement>(null);
  const cancel = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  useLayoutEffect(() => {
    if (step === 'confirms') go.current?.focus();
    if (step === 'done') cancel.current?.focus();
  }, [step]);

  const refuse = (words: string) => setProgress({ step: 'asks', words, isBad: true });
  const next = async (form: HTMLFormElement) => {
    const { token, ...values } = valuesOf(form);
    if (token !== undefined) sessionStorage.setItem(TOKEN_KEY, token);
    const body = judged ?? question.bodyOf(values);
    setProgress({ step: 'waits', words: judged ? 'Doing it …' : 'Asking what would happen …', judged });
    const { done, message, status } = await post(question.command, { ...body, dryRun: !judged });
    if (status === 401) {
      sessionStorage.removeItem(TOKEN_KEY);
      setNeedsToken(true);
      return refuse('The token is not the right one.');
    }
    if (!done) return refuse(`Refused: ${message}`);
    setProgress(judged ? { step: 'done', words: message } : { step: 'confirms', words: message, judged: body });
  };
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    next(event.currentTarget as HTMLFormElement).catch((error: unknown) => refuse(String(error)));
  };
  const goes = { ref: go, type: 'submit', disabled: step === 'waits', hidden: step === 'done' };
  const cancels = { ref: cancel, type: 'button', onClick: () => dialog.current?.close() };
  return h(
    'dialog',
    { ref: dialog, 'aria-labelledby': 'dialog-title', onClose: close },
    h(
      'form',
      { method: 'dialog', onSubmit },
      h('h2', { id: 'dialog-title' }, question.title),
      h('fieldset', { disabled: step !== 'asks' }, ...(question.fields?.() ?? []), needsToken && tokenField()),
      h('p', { id: 'outcome', class: isBad ? 'bad' : '', role: 'status', 'aria-live': 'polite' }, words),
      h(
        'div',
        { class: 'buttons' },
        h('button', { id: 'go', ...goes }, judged ? 'Do it' : 'Continue'),
        h('button', cancels, step === 'done' ? 'Close' : 'Cancel'),
      ),
    ),
  );
});

function valuesOf(form: HTMLFormElement): Values {
  const given = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]);
  return Object.fromEntries(given.filter(([, value]) => value !== ''));
}

/** Never throws: a failure is shown like a refusal. */
async function post(command: Command, body: Body) {
  try {
    const token = sessionStorage.getItem(TOKEN_KEY) ?? '';
    const response = await fetch(`/api/v1/${command}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    const answer = (await response.json()) as Partial<Answer> & { error?: string };
    const message = answer.message ?? answer.error ?? response.statusText;
    return { done: response.ok && answer.done === true, message, status: response.status };
  } catch (error) {
    return { done: false, message: `The monitor does not answer: ${String(error)}`, status: 0 };
  }
}
