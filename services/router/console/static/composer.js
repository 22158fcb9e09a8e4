/** Where answers and notes are written: what the channel allows now, and nothing lost whatever happens. */
import { post, upload } from './api.js';
import { fill, h } from './dom.js';
import { draft, keep } from './drafts.js';
import { failed, speak, tell, warn } from './notices.js';
import { isStale } from './problems.js';
import { postSeen } from './seen.js';
import { isMine, leads, refreshSoon } from './state.js';
import { countdown } from './time.js';
import * as words from './words.js';

const MOST_FILES = 10;
// Below it a limit is always near; of a larger one only the last fifth is worth a word.
const SMALL_LIMIT = 5000;

export class Composer {
  #document = null;
  #draft;
  #busy = false;

  /**
   * @param {string} id of the conversation
   * @param {{again: () => Promise<void>, resolved: () => void}} then what follows an action
   */
  constructor(id, then) {
    this.id = id;
    this.then = then;
    this.#draft = draft(id);
    this.permission = h('p', { class: 'permission', id: 'permission' });
    this.counter = h('p', { class: 'counter', id: 'counter' });
    this.files = h('ul', { class: 'chosen', 'aria-label': 'Files of this answer' });
    this.text = h('textarea', {
      rows: '3', dir: 'auto', 'aria-describedby': 'permission counter', 'data-focus': 'text',
      oninput: () => this.#written(), onkeydown: (event) => this.#key(event), onpaste: (event) => this.#pasted(event),
    });
    this.input = h('input', { type: 'file', multiple: true, class: 'unseen', tabindex: '-1', 'aria-hidden': 'true', onchange: () => this.#chosen([...this.input.files]) });
    this.modes = h('div', { class: 'modes', role: 'group', 'aria-label': 'What you write' },
      this.#mode('reply', 'Answer'), this.#mode('note', 'Note'));
    this.attach = h('button', { type: 'button', class: 'quiet', onclick: () => this.input.click() }, 'Attach a file');
    this.send = h('button', { type: 'submit', class: 'main', 'aria-keyshortcuts': 'Control+Enter' }, 'Send');
    this.sendAndResolve = h('button', { type: 'button', 'aria-keyshortcuts': 'Control+Shift+Enter', onclick: () => this.#submit(true) }, 'Send and resolve');
    this.root = h('form', { class: 'composer', 'aria-label': 'Write', onsubmit: (event) => { event.preventDefault(); this.#submit(false); } },
      h('div', { class: 'row' }, this.modes, this.permission), this.text, this.files,
      h('div', { class: 'row' }, this.attach, this.input, this.counter, h('span', { class: 'grow' }), this.sendAndResolve, this.send));
    this.#draw();
  }

  show(document) {
    this.#document = document;
    this.#draw();
  }

  focus(mode) {
    if (mode) this.#switch(mode);
    this.text.focus();
  }

  get #isNote() {
    return this.#draft.mode === 'note';
  }

  /** Why no answer can be written now; empty where one can. */
  get #obstacle() {
    const c = this.#document;
    if (c === null) return 'Loading …';
    if (c.state === 'resolved') return 'This conversation is resolved. It opens again when the customer writes; a note is possible at any time.';
    if (c.state === 'waiting') return 'Nobody holds it yet. Claim it to answer.';
    if (c.state === 'offered') return isMine(c) ? 'Accept it to answer.' : `It is held out to ${c.agent_name}.`;
    if (!isMine(c) && !leads()) return `${c.agent_name} holds it. You can leave a note.`;
    return c.may_write.allowed ? '' : c.may_write.sentence || 'The channel does not let us write now.';
  }

  #mode(mode, label) {
    return h('button', { type: 'button', 'data-mode': mode, onclick: () => { this.#switch(mode); this.text.focus(); } }, label);
  }

  #switch(mode) {
    this.#draft.mode = mode;
    this.#draw();
  }

  #written() {
    this.#draft[this.#isNote ? 'note' : 'text'] = this.text.value;
    keep(this.id, this.#draft);
    this.#count();
  }

  #draw() {
    const isNote = this.#isNote;
    const obstacle = isNote ? '' : this.#obstacle;
    const written = this.#draft[isNote ? 'note' : 'text'];
    if (this.text.value !== written) this.text.value = written;
    this.root.dataset.mode = this.#draft.mode;
    this.root.dataset.blocked = String(Boolean(obstacle));
    for (const button of this.modes.children) button.setAttribute('aria-pressed', String(button.dataset.mode === this.#draft.mode));
    this.text.setAttribute('aria-label', isNote ? 'Note for colleagues' : 'Your answer');
    this.text.setAttribute('lang', (!isNote && this.#document?.language) || 'en');
    this.text.placeholder = isNote ? 'Only colleagues see this' : obstacle ? '' : `Answer in ${words.language(this.#document.language)}`;
    this.#explain(isNote, obstacle);
    this.attach.hidden = this.files.hidden = this.sendAndResolve.hidden = isNote;
    this.send.textContent = isNote ? 'Add note' : 'Send';
    this.#drawFiles();
    this.#count();
  }

  #explain(isNote, obstacle) {
    if (isNote) {
      this.permission.textContent = 'The customer never sees a note.';
    } else if (obstacle) {
      this.permission.textContent = obstacle;
    } else {
      const { sentence, until } = this.#document.may_write;
      const left = until && countdown(until, { before: 'Open for ', over: 'The window has just closed' });
      fill(this.permission, ...[left, sentence && h('span', {}, sentence)].filter(Boolean));
    }
  }

  #count() {
    const length = [...this.text.value].length;
    const limit = this.#document?.may_write.text_limit ?? 0;
    const pieces = limit ? Math.ceil(length / limit) : 1;
    const counted = !this.#isNote && limit > 0 && length > (limit > SMALL_LIMIT ? limit * 0.8 : 0);
    this.counter.textContent = counted ? `${length} of ${limit}${pieces > 1 ? `: leaves as about ${pieces} messages` : ''}` : '';
    const isEmpty = !this.text.value.trim() && (this.#isNote || !this.#draft.files.length);
    const blocked = this.#busy || (!this.#isNote && Boolean(this.#obstacle));
    this.send.disabled = this.sendAndResolve.disabled = isEmpty || blocked;
    this.attach.disabled = blocked;
  }

  #drawFiles() {
    fill(this.files, ...this.#draft.files.map((file) => h('li', {},
      h('bdi', {}, file.name), h('span', { class: 'hint' }, ` ${words.bytes(file.size)} `),
      h('button', { type: 'button', class: 'quiet', 'aria-label': `Take out ${file.name}`, onclick: () => this.#takeOut(file) }, 'Take out'))));
  }

  #takeOut(file) {
    this.#draft.files = this.#draft.files.filter((each) => each !== file);
    keep(this.id, this.#draft);
    this.#draw();
    this.attach.focus();
  }

  #pasted(event) {
    const files = [...event.clipboardData.files];
    if (!files.length || this.#isNote) return;
    event.preventDefault();
    this.#chosen(files);
  }

  async #chosen(files) {
    this.input.value = '';
    if (this.#draft.files.length + files.length > MOST_FILES) {
      warn(`An answer carries at most ${MOST_FILES} files.`);
      return;
    }
    for (const file of files) {
      await this.#during(async () => {
        const { data } = await upload(file, this.#document.brand_id);
        this.#draft.files.push({ sha256: data.sha256, name: data.name, size: data.size });
        keep(this.id, this.#draft);
        tell(`${data.name} is attached.`);
      });
    }
    this.#draw();
  }

  #key(event) {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.#submit(event.shiftKey);
  }

  async #submit(resolve) {
    const obstacle = this.#isNote ? '' : this.#obstacle;
    if (obstacle) speak(obstacle, 'urgent');
    if (this.send.disabled) return;
    await this.#during(() => (this.#isNote ? this.#sendNote() : this.#sendReply(resolve)));
    this.text.focus();
  }

  async #sendNote() {
    await post(`/v1/conversations/${this.id}/notes`, { text: this.#draft.note });
    this.#draft.note = '';
    this.#draft.mode = 'reply';
    keep(this.id, this.#draft);
    tell('The note is added.');
    await this.then.again();
  }

  async #sendReply(resolve) {
    const { text, files } = this.#draft;
    const attached = files.map(({ sha256, name }) => ({ sha256, name }));
    await postSeen(this.#document, 'reply', { text, attachments: attached, resolve });
    this.#draft = { ...this.#draft, text: '', files: [] };
    keep(this.id, this.#draft);
    tell(resolve ? 'Sent, and resolved.' : `Sent: now ${words.channel(this.#document.channel)} has to take it.`);
    refreshSoon();
    if (resolve) this.then.resolved();
    else await this.then.again();
  }

  /** One thing at a time; a refusal is explained, and where it is one of age the newest is shown. */
  async #during(work) {
    this.#busy = true;
    this.#count();
    try {
      await work();
    } catch (error) {
      failed(error);
      if (isStale(error)) await this.then.again();
    } finally {
      this.#busy = false;
      this.#draw();
    }
  }
}
