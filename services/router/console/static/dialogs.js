/** Questions before an action, in the browser's own modal dialog: it keeps the focus inside and gives it back. */
import { Failed, get } from './api.js';
import { h } from './dom.js';
import { failed } from './notices.js';
import { state } from './state.js';
import * as words from './words.js';

/**
 * Opens a dialog with these fields; gives the form's values, or null where it was left.
 * @returns {Promise<Record<string, string> | null>}
 */
export function ask(title, { hint = '', fields = [], action }) {
  return new Promise((resolve) => {
    let values = null;
    const form = h('form', {
      onsubmit(event) {
        event.preventDefault();
        values = Object.fromEntries(new FormData(form));
        dialog.close();
      },
    }, h('h2', { id: 'dialog-title' }, title), hint && h('p', { class: 'hint' }, hint), ...fields,
    h('div', { class: 'row' }, h('span', { class: 'grow' }),
      h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), h('button', { class: 'main' }, action)));
    const dialog = open(form, () => resolve(values));
  });
}

/** Shows something to read. */
export function tellMore(title, ...content) {
  const dialog = open(h('div', {}, h('h2', { id: 'dialog-title' }, title), ...content,
    h('div', { class: 'row' }, h('span', { class: 'grow' }), h('button', { type: 'button', class: 'main', autofocus: true, onclick: () => dialog.close() }, 'Close'))));
}

function open(content, closed = () => {}) {
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); closed(); } }, content);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const reasonField = (label) => h('label', {}, label, h('input', { name: 'reason', maxlength: '500', dir: 'auto', autocomplete: 'off' }));

export const askReason = (title, hint, action) => ask(title, { hint, fields: [reasonField('Reason, for colleagues (may be empty)')], action });

export async function askLanguage(current) {
  const choice = h('select', { name: 'language', required: true },
    words.LANGUAGES.filter((code) => code !== current).map((code) => h('option', { value: code }, words.language(code))));
  const answer = await ask('Which language is it?', {
    hint: 'It goes to the speakers of that language, with its age and its clock.',
    fields: [h('label', {}, 'Language', choice)], action: 'Hand over',
  });
  return answer?.language ?? null;
}

/** A colleague, a queue, or back to all of its language. */
export async function askTransfer(conversation) {
  let colleagues;
  try {
    colleagues = (await get('/v1/agents')).data.items;
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    failed(error);
    return null;
  }
  const others = colleagues.filter((each) => each.agent_id !== conversation.agent_id && each.status === 'available');
  const speaks = (each) => each.languages.includes(conversation.language);
  const option = (each) => h('option', { value: `agent_id ${each.agent_id}` },
    `${each.name}${each.languages.length ? ` (${each.languages.map(words.language).join(', ')})` : ''}, ${each.capacity - each.load} of ${each.capacity} free`);
  const group = (label, options) => options.length > 0 && h('optgroup', { label }, options);
  const target = h('select', { name: 'target' },
    h('option', { value: '' }, `Everybody who speaks ${words.language(conversation.language)}`),
    group('Present, and speak it', others.filter(speaks).map(option)),
    group('Present', others.filter((each) => !speaks(each)).map(option)),
    group('Queues', state.queues.map((queue) => h('option', { value: `pool_id ${queue.pool_id}` }, queue.name))));
  const answer = await ask('Transfer', {
    hint: 'Its age and its clock stay as they are.',
    fields: [h('label', {}, 'To', target), reasonField('Why, for colleagues (may be empty)')], action: 'Transfer',
  });
  if (!answer) return null;
  const [name, id] = answer.target.split(' ');
  return { reason: answer.reason, ...(id && { [name]: id }) };
}
