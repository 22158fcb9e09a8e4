/** The bar on top: where one is, whether one is there, whether the line holds. */
import { fill, h } from './dom.js';
import { help } from './keys.js';
import { failed, speak, warn } from './notices.js';
import { leads, model, setPresence, state } from './state.js';
import { clockTime } from './time.js';

/** @param {{signOut: () => void}} then */
export function header(then) {
  const links = [link('#/', state.me.agent_id ? 'My queue' : 'Conversations'), (leads() || state.queues.length > 0) && state.me.role !== 'brand' && link('#/floor', 'Floor')];
  return h('div', { class: 'bar' },
    h('a', { class: 'brand', href: '#/', 'aria-label': 'Dragoman, my queue' }, 'Dragoman'),
    h('nav', { 'aria-label': 'Places' }, links.filter(Boolean)),
    h('span', { class: 'grow' }),
    state.me.agent_id !== null && presence(),
    h('button', { type: 'button', class: 'quiet keys-button', 'aria-label': 'Shortcuts', 'aria-keyshortcuts': '?', onclick: help }, '?'),
    h('span', { class: 'me' }, h('bdi', {}, state.me.name)),
    h('button', { type: 'button', class: 'quiet', onclick: then.signOut }, 'Sign out'));
}

const link = (href, label) => h('a', { class: 'place', href }, label);

/** Marks the link to what is shown. */
export function markPlace(hash) {
  for (const each of document.querySelectorAll('.place')) {
    const isHere = each.hash === hash || (each.hash === '#/' && hash.startsWith('#/c/'));
    if (isHere) each.setAttribute('aria-current', 'page');
    else each.removeAttribute('aria-current');
  }
}

function presence() {
  const button = h('button', { type: 'button', class: 'presence', role: 'switch', 'aria-keyshortcuts': 'P', onclick: toggle }, '');
  const draw = () => {
    const isThere = state.presence === 'available';
    button.setAttribute('aria-checked', String(isThere));
    button.setAttribute('aria-label', 'Present');
    fill(button, h('span', { class: 'dot', 'aria-hidden': 'true' }), isThere ? 'Present' : 'Away');
  };
  model.addEventListener('presence', ({ detail }) => {
    draw();
    if (detail?.wasSetAway) warn('You were set away, because offers to you lapsed. Say that you are here to get work again.');
  });
  draw();
  return button;
}

export async function toggle() {
  if (state.me.agent_id === null) return;
  try {
    await setPresence(state.presence === 'available' ? 'away' : 'available');
    speak(state.presence === 'available' ? 'You are present.' : 'You are away.');
  } catch (error) {
    failed(error);
  }
}

/** Says that the line is down, since when what is shown may be old, and that it is back. */
export function banner() {
  const root = h('p', { class: 'banner', hidden: true });
  let wasOffline = false;
  const draw = () => {
    const isOffline = state.link === 'offline';
    root.hidden = !isOffline;
    root.textContent = `Offline. What you see was true at ${clockTime(state.knownAt || Date.now())}; what you write is kept, and the console comes back by itself.`;
    if (isOffline && !wasOffline) speak('Offline. What you write is kept.', 'urgent');
    if (!isOffline && wasOffline) speak('Back online.');
    wasOffline = isOffline;
  };
  model.addEventListener('link', draw);
  draw();
  return root;
}
