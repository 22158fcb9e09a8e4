/** The live stream by `fetch`, which unlike EventSource can say who it is; it comes back by itself where it left off. */
import { bearer } from './api.js';

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
// The server says something every 15 seconds.
const SILENCE = 40_000;

/** Listens for `open`, `closed` (not asked for), `unauthorized`, and `change`, `resync`, `begin` with their data. */
export class Stream extends EventTarget {
  #lastId = '';
  #wait = FIRST_WAIT;
  #running = null;
  #current = null;
  #wake = () => {};

  start() {
    this.#running = new AbortController();
    this.#loop(this.#running.signal);
  }

  stop() {
    this.#running?.abort();
    this.#wake();
  }

  /** Ends a connection that is as good as dead, and tries anew. */
  restart() {
    this.#current?.abort();
  }

  /** The way may be free again: try now rather than at the end of the wait. */
  nudge() {
    this.#wait = FIRST_WAIT;
    this.#wake();
  }

  async #loop(stopped) {
    while (!stopped.aborted) {
      try {
        await this.#read(stopped);
      } catch (error) {
        // Dropped, silent, or never there: which one makes no difference to what comes next.
        if (!(error instanceof TypeError) && error.name !== 'AbortError') reportError(error);
      }
      if (stopped.aborted) return;
      this.dispatchEvent(new Event('closed'));
      await this.#pause();
    }
  }

  async #read(stopped) {
    const silent = (this.#current = new AbortController());
    const signal = AbortSignal.any([stopped, silent.signal]);
    let watch = setTimeout(() => silent.abort(), SILENCE);
    try {
      const headers = { ...bearer(), ...(this.#lastId && { 'Last-Event-ID': this.#lastId }) };
      const answer = await fetch('/v1/stream', { headers, signal, cache: 'no-store' });
      if (answer.status === 401) this.dispatchEvent(new Event('unauthorized'));
      if (!answer.ok) return;
      this.#wait = FIRST_WAIT;
      this.dispatchEvent(new Event('open'));
      const events = new Parser((event) => this.#tell(event));
      for await (const text of texts(answer.body)) {
        clearTimeout(watch);
        watch = setTimeout(() => silent.abort(), SILENCE);
        events.push(text);
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #tell({ id, name, data }) {
    if (id) this.#lastId = id;
    const kind = name === 'begin' || name === 'resync' ? name : 'change';
    this.dispatchEvent(new CustomEvent(kind, { detail: JSON.parse(data) }));
  }

  #pause() {
    // Not all consoles at once after a restart.
    const wait = this.#wait * (0.5 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Server-sent events out of pieces of text (HTML Living Standard, 9.2.6). */
export class Parser {
  #rest = '';
  #event = { id: '', name: '', data: [] };

  constructor(tell) {
    this.tell = tell;
  }

  push(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    lines.forEach((line) => this.#line(line.replace(/\r$/, '')));
  }

  #line(line) {
    if (line === '') {
      const { id, name, data } = this.#event;
      this.#event = { id: '', name: '', data: [] };
      if (data.length) this.tell({ id, name, data: data.join('\n') });
      return;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === 'data') this.#event.data.push(value);
    else if (field === 'event') this.#event.name = value;
    else if (field === 'id') this.#event.id = value;
  }
}
