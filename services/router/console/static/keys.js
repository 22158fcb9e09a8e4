/** Shortcuts: single keys outside of fields, which whoever uses a voice or dictation can switch off. */
import { tellMore } from './dialogs.js';
import { h } from './dom.js';

const OFF = 'dragoman.keys.off';

/** @type {{key: string, shown?: string, what: string, name: string}[]} */
const SHORTCUTS = [
  { key: 'j', what: 'Next conversation of my queue', name: 'next' },
  { key: 'k', what: 'The one before', name: 'previous' },
  { key: 'a', what: 'Accept the shown offer, else the first', name: 'accept' },
  { key: 'd', what: 'Decline it', name: 'decline' },
  { key: 'c', what: 'Claim the shown conversation', name: 'claim' },
  { key: 'r', what: 'Write an answer', name: 'reply' },
  { key: 'n', what: 'Write a note', name: 'note' },
  { key: 't', what: 'Transfer', name: 'transfer' },
  { key: 'l', what: 'Wrong language', name: 'wrongLanguage' },
  { key: 'e', what: 'Resolve', name: 'resolve' },
  { key: 'p', what: 'Present, or away', name: 'presence' },
  { key: 'q', what: 'My queue', name: 'queue' },
  { key: 'f', what: 'The floor', name: 'floor' },
  { key: '?', what: 'These shortcuts', name: 'help' },
];
const ALWAYS = [
  ['Ctrl + Enter', 'Send what is written'],
  ['Ctrl + Shift + Enter', 'Send and resolve'],
  ['Escape', 'Out of a field, or close a dialog'],
];

/** @param {Record<string, () => void>} commands by the names above */
export function listen(commands) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape' && isField(event.target)) {
      event.target.blur();
      document.getElementById('main').focus();
      return;
    }
    if (isField(event.target) || localStorage.getItem(OFF)) return;
    const found = SHORTCUTS.find(({ key }) => key === event.key);
    if (!found || !commands[found.name]) return;
    event.preventDefault();
    commands[found.name]();
  });
}

const isField = (element) => element.matches('input, textarea, select, [contenteditable]');

/** What the keys do, and the switch for them. */
export function help() {
  const rows = [...SHORTCUTS.map(({ key, what }) => [key.toUpperCase(), what]), ...ALWAYS];
  const single = h('input', {
    type: 'checkbox', checked: !localStorage.getItem(OFF),
    onchange: () => (single.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, 'yes')),
  });
  tellMore('Shortcuts',
    h('dl', { class: 'keys' }, rows.map(([key, what]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)])),
    h('label', { class: 'check' }, single, 'Single keys work outside of fields'));
}
