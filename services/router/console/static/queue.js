/** My queue: what is held out to me, what I hold, and what waits for people like me. */
import { accept, claim, decline } from './actions.js';
import { fill, h, reconcile } from './dom.js';
import { hasDraft } from './drafts.js';
import { model, setPresence, state } from './state.js';
import { countdown, since } from './time.js';
import { failed, speak } from './notices.js';
import * as words from './words.js';

// The last quarter of the time allowed; the conversation itself shows its policy's own warning.
const NEAR = 0.25;

export class Queue {
  #known = null;
  #current = null;

  constructor() {
    this.list = h('ul', { class: 'cards' });
    this.waiting = h('ul', { class: 'cards' });
    this.empty = h('div', { class: 'empty' });
    this.waitingPart = h('section', { 'aria-labelledby': 'waiting-title', hidden: true },
      h('h2', { id: 'waiting-title' }, 'Waiting in your languages'), this.waiting);
    this.root = h('nav', { class: 'queue', 'aria-label': 'Conversations' },
      h('h1', {}, state.me.agent_id ? 'My queue' : 'Open conversations'), this.empty, this.list, this.waitingPart);
    model.addEventListener('mine', () => this.show());
    model.addEventListener('presence', () => this.show());
    this.show();
  }

  mark(id) {
    this.#current = id;
    this.show();
  }

  /** The conversation `step` places after the shown one. */
  beside(step) {
    const place = state.mine.findIndex((each) => each.id === this.#current);
    return state.mine[place < 0 ? 0 : Math.min(Math.max(place + step, 0), state.mine.length - 1)] ?? null;
  }

  show() {
    const look = (each) => JSON.stringify([each, each.id === this.#current, hasDraft(each.id)]);
    reconcile(this.list, state.mine, (each) => each.id, look, (each) => this.#card(each));
    reconcile(this.waiting, state.waiting, (each) => each.id, look, (each) => this.#card(each));
    this.waitingPart.hidden = state.waiting.length === 0;
    this.#explain();
    this.#announce();
  }

  #card(c) {
    const isOffer = c.state === 'offered';
    return h('li', { class: 'card', 'data-state': c.state, 'aria-current': c.id === this.#current && 'true' },
      h('a', { href: `#/c/${c.id}`, 'data-focus': c.id },
        h('span', { class: 'line' }, h('bdi', { class: 'name' }, c.customer_name || 'Customer'), due(c)),
        h('span', { class: 'line small' }, `${words.channel(c.channel)} · ${c.brand_name}`, h('span', { class: 'language' }, words.language(c.language))),
        c.subject && h('span', { class: 'subject', dir: 'auto' }, c.subject),
        hasDraft(c.id) && h('span', { class: 'small' }, 'Draft kept')),
      isOffer && h('div', { class: 'row offer' },
        h('span', { class: 'grow' }, c.offered_until && countdown(c.offered_until, { after: ' to accept', over: 'Lapsed' })),
        h('button', { type: 'button', 'data-focus': `decline ${c.id}`, 'aria-label': `Decline ${c.customer_name}`, onclick: () => decline(c) }, 'Decline'),
        h('button', { type: 'button', class: 'main', 'data-focus': `accept ${c.id}`, 'aria-label': `Accept ${c.customer_name}`, onclick: () => take(c, accept) }, 'Accept')),
      c.state === 'waiting' && h('div', { class: 'row offer' },
        h('span', { class: 'grow' }, 'Waits for ', c.unanswered_since && since(c.unanswered_since)),
        h('button', { type: 'button', 'data-focus': `claim ${c.id}`, 'aria-label': `Claim ${c.customer_name}`, onclick: () => take(c, claim) }, 'Claim')));
  }

  #explain() {
    const isEmpty = state.mine.length === 0;
    this.empty.hidden = !isEmpty;
    if (!isEmpty) return;
    if (state.me.agent_id === null) {
      fill(this.empty, h('p', {}, 'Nothing is open for your brands.'));
    } else if (state.presence === 'away') {
      fill(this.empty,
      h('p', {}, 'You are away, so nothing is given to you.'),
        h('button', { type: 'button', class: 'main', 'data-focus': 'present', onclick: () => setPresence('available').catch(failed) }, 'I am here'));
    } else {
      fill(this.empty,
      h('p', {}, state.queues.length ? 'You hold nothing, and nothing is held out to you.' : 'You stand in no pool, so nothing is given to you.'),
        h('p', { class: 'hint' }, state.queues.length ? 'The next message in one of your languages appears here by itself.' : 'The floor shows what waits, and for whom.'));
    }
  }

  #announce() {
    const offers = state.mine.filter((each) => each.state === 'offered');
    document.title = offers.length ? `(${offers.length}) Dragoman` : 'Dragoman';
    const fresh = offers.filter((each) => this.#known && !this.#known.has(each.id));
    this.#known = new Set(offers.map((each) => each.id));
    for (const each of fresh) {
      speak(`Offer: ${each.customer_name || 'a customer'}, ${words.channel(each.channel)}, ${words.language(each.language)}. Press A to accept.`, 'urgent');
    }
  }
}

/** Takes it and goes there. */
export async function take(c, how) {
  if (await how(c)) location.hash = `#/c/${c.id}`;
}

export function due(c) {
  if (!c.due_at) return null;
  const begun = Date.parse(c.unanswered_since ?? c.due_at);
  const warn = new Date(Date.parse(c.due_at) - (Date.parse(c.due_at) - begun) * NEAR).toISOString();
  return countdown(c.due_at, { warn });
}
