/** Time as the server has it, and every countdown of the page. */
import { h } from './dom.js';

let ahead = 0;
let best = Infinity;

/** Learns from an answer's `Date` how far this machine's clock is off; the quickest answer tells it best. */
export function learn(date, askedAt, answeredAt) {
  const told = Date.parse(date);
  if (Number.isNaN(told) || answeredAt - askedAt > best) return;
  best = answeredAt - askedAt;
  // `Date` has whole seconds: on average half of one has passed.
  const off = told + 500 - (askedAt + answeredAt) / 2;
  // A browser that is right to the second is left alone.
  ahead = Math.abs(off) < 1500 ? 0 : off;
}

/** Milliseconds since 1970 by the server's clock. */
export const now = () => Date.now() + ahead;

/** A length of time in its two largest units. */
export function length(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes >= 10) return `${minutes} min`;
  if (minutes) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`;
  return `${seconds} s`;
}

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

export const clockTime = (instant) => clockFormat.format(new Date(instant));
export const day = (instant) => dayFormat.format(new Date(instant));

/** An instant as the hour of the day; the whole of it on pointing. */
export const at = (instant) =>
  h('time', { datetime: instant, title: fullFormat.format(new Date(instant)) }, clockTime(instant));

/** How long ago it was, kept up to date. */
export const since = (instant) => live({ datetime: instant, 'data-since': instant });

/**
 * How long is left until `due`, kept up to date; from `warn` on it is near, afterwards missed.
 * @param {string} due
 * @param {{warn?: string, before?: string, after?: string, over?: string}} words around what is left, and once it is over
 */
export function countdown(due, { warn = '', before = '', after = '', over = '' } = {}) {
  return live({
    datetime: due, 'data-due': due, 'data-warn': warn, 'data-before': before, 'data-after': after, 'data-over': over,
    title: `Due ${fullFormat.format(new Date(due))}`,
  });
}

function live(attributes) {
  const element = h('time', attributes);
  tick(element);
  return element;
}

/** What a countdown says at an instant, and how urgent it is. */
function reading({ due, warn, before, after, over }, instant) {
  const left = Date.parse(due) - instant;
  if (left <= 0) return { urgency: 'missed', text: over || `Missed by ${length(-left)}` };
  const urgency = warn && instant >= Date.parse(warn) ? 'near' : 'fine';
  return { urgency, text: `${before}${length(left)}${after}` };
}

function tick(element) {
  if (element.dataset.since) {
    write(element, length(now() - Date.parse(element.dataset.since)));
    return;
  }
  const { urgency, text } = reading(element.dataset, now());
  element.dataset.urgency = urgency;
  write(element, text);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

setInterval(() => document.querySelectorAll('time[data-due], time[data-since]').forEach(tick), 1000);
