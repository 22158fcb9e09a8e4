/** What the console tells: shown for a while, and spoken by screen readers. */
import { h } from './dom.js';
import { advice } from './problems.js';

const SHOWN_FOR = 6000;

const place = () => document.getElementById('notices');

/** Something went as wished. */
export function tell(text) {
  const notice = h('p', { class: 'notice' }, text);
  place().append(notice);
  speak(text);
  setTimeout(() => notice.remove(), SHOWN_FOR);
}

/** Something did not; it stays until it is read. */
export function warn(text) {
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => notice.remove() }, 'Dismiss');
  const notice = h('div', { class: 'notice wrong' }, h('p', {}, text), close);
  for (const other of place().querySelectorAll('.wrong')) if (other.firstChild.textContent === text) other.remove();
  place().append(notice);
  speak(text, 'urgent');
}

/** A failed action, with what to do about it. */
export const failed = (error) => warn(advice(error));

/** Only for those who listen: `polite` waits for a pause, `urgent` does not. */
export function speak(text, how = 'polite') {
  const region = document.getElementById(how);
  region.textContent = '';
  // Another moment, else the same sentence twice would be no change.
  setTimeout(() => (region.textContent = text), 50);
}
