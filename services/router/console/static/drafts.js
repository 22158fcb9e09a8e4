/** What is written and not sent, in this tab: it survives a reload, a lost connection, and signing in again. */

const PREFIX = 'dragoman.draft.';

/**
 * @typedef {object} Draft
 * @property {string} text
 * @property {string} note
 * @property {'reply' | 'note'} mode
 * @property {{sha256: string, name: string, size: number}[]} files
 */

/** @returns {Draft} */
export function draft(conversation) {
  const kept = sessionStorage.getItem(PREFIX + conversation);
  return kept ? JSON.parse(kept) : { text: '', note: '', mode: 'reply', files: [] };
}

/** @param {Draft} value */
export function keep(conversation, value) {
  if (value.text || value.note || value.files.length) {
    sessionStorage.setItem(PREFIX + conversation, JSON.stringify(value));
  } else {
    sessionStorage.removeItem(PREFIX + conversation);
  }
}

export const hasDraft = (conversation) => sessionStorage.getItem(PREFIX + conversation) !== null;

/** On signing out on purpose: the next person at this tab sees nothing of it. */
export function forget() {
  Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX)).forEach((name) => sessionStorage.removeItem(name));
}
