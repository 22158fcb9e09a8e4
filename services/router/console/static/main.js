/** The console: signs in, then shows the queue, a conversation or the floor, as the address says. */
import { accept, decline } from './actions.js';
import { Failed, network, put, Refused } from './api.js';
import { Conversation } from './conversation.js';
import { fill, h } from './dom.js';
import { forget } from './drafts.js';
import { Floor } from './floor.js';
import { banner, header, markPlace, toggle } from './header.js';
import { help, listen } from './keys.js';
import { arrive, NotSignedIn } from './oidc.js';
import { advice } from './problems.js';
import { Queue, take } from './queue.js';
import { aside, begin, end, session } from './session.js';
import { showSignIn } from './signin.js';
import { close, open, state } from './state.js';

const root = document.getElementById('main');
let queue = null;
let shown = null;

async function start() {
  document.querySelector('.skip').addEventListener('click', (event) => {
    event.preventDefault();
    root.focus();
  });
  try {
    const found = await arrive();
    if (found) begin(found);
  } catch (error) {
    if (!(error instanceof NotSignedIn || error instanceof TypeError)) throw error;
    await signIn(error instanceof NotSignedIn ? error.message : 'The issuer cannot be reached.');
    return;
  }
  if (session()) await work();
  else await signIn();
}

const signIn = (why = '') => showSignIn(root, { why, onSignedIn: work });

async function work() {
  fill(root, h('p', { class: 'empty', role: 'status' }, 'Loading …'));
  try {
    await open();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return;
    if (!(error instanceof Failed)) throw error;
    fill(root, h('div', { class: 'empty' }, h('p', { role: 'alert' }, advice(error)),
      h('button', { type: 'button', class: 'main', onclick: () => location.reload() }, 'Try again')));
    return;
  }
  fill(document.getElementById('top'), header({ signOut }), banner());
  queue = new Queue();
  fill(root, queue.root, h('div', { id: 'work' }));
  addEventListener('hashchange', route);
  listen(commands);
  await route();
}

/** What the address says: `#/`, `#/c/ID` or `#/floor`. */
async function route() {
  const hash = location.hash || '#/';
  const [, id] = /^#\/c\/([0-9a-f-]{36})$/.exec(hash) ?? [];
  shown?.close();
  shown = id ? new Conversation(id, { left }) : hash === '#/floor' ? new Floor() : null;
  document.body.dataset.view = id ? 'conversation' : shown ? 'floor' : 'queue';
  queue.mark(id ?? null);
  markPlace(hash);
  fill(document.getElementById('work'), shown?.root ?? nothingChosen());
  await shown?.again();
}

const nothingChosen = () => h('div', { class: 'empty' }, h('p', {}, 'Choose a conversation of your queue.'),
  h('p', { class: 'hint' }, 'Press J for the next one, A to accept an offer, ? for all shortcuts.'));

/** Done with the shown conversation: to the most urgent of the others, if there is one. */
function left() {
  const next = state.mine.find((each) => each.id !== shown?.id && each.state === 'assigned');
  location.hash = next ? `#/c/${next.id}` : '#/';
}

const goTo = (conversation) => conversation && (location.hash = `#/c/${conversation.id}`);

/** The offer that is shown, else the first. */
function offer() {
  const offers = state.mine.filter((each) => each.state === 'offered');
  return offers.find((each) => each.id === shown?.id) ?? offers[0];
}

const ofShown = (name) => () => shown?.do?.(name);

const commands = {
  next: () => goTo(queue.beside(1)),
  previous: () => goTo(queue.beside(-1)),
  accept: () => {
    const found = offer();
    if (found?.id === shown?.id) shown?.do('accept');
    else if (found) take(found, accept);
  },
  decline: () => {
    const found = offer();
    if (found?.id === shown?.id) shown?.do('decline');
    else if (found) decline(found);
  },
  claim: ofShown('claim'),
  reply: () => shown?.composer?.focus('reply'),
  note: () => shown?.composer?.focus('note'),
  transfer: ofShown('transfer'),
  wrongLanguage: ofShown('wrongLanguage'),
  resolve: ofShown('resolve'),
  presence: toggle,
  queue: () => (location.hash = '#/'),
  floor: () => document.querySelector('.place[href="#/floor"]')?.click(),
  help,
};

async function signOut() {
  if (state.me.agent_id !== null) {
    try {
      await put('/v1/presence', { status: 'away' });
    } catch (error) {
      // Without a stream the lease of a minute ends by itself.
      if (!(error instanceof Failed)) throw error;
    }
  }
  forget();
  aside.take('presence');
  leave();
}

/** Drafts stay in the tab for whoever signs in again. */
function leave() {
  close();
  end();
  location.reload();
}

network.addEventListener('unauthorized', () => {
  if (!session()) return;
  close();
  end();
  fill(document.getElementById('top'));
  delete document.body.dataset.view;
  shown?.close();
  shown = null;
  showSignIn(root, { why: 'You are not signed in any more, or the token is not known. What you wrote is kept.', onSignedIn: () => location.reload() });
});

await start();
